// A file of a fixed size in memory that another process maps too: made under a temporary name, renamed when it is ready,
// removed with its owner. What each system needs for that is here and nowhere else.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#if defined(_WIN32)
#include <process.h>
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace safa {

inline uint32_t processId()
{
#if defined(_WIN32)
    return static_cast<uint32_t>(_getpid());
#else
    return static_cast<uint32_t>(getpid());
#endif
}

// Where plugins leave their segments; the bridge looks in the same place (server/safa_server/bridge/folder.py).
inline std::string folder()
{
    if (const char* given = std::getenv("SAFA_PLUGIN_FOLDER"))
        return given;
#if defined(_WIN32)
    const char* base = std::getenv("LOCALAPPDATA");
    return std::string(base != nullptr ? base : ".") + "\\safa-stream-plugins";
#else
    if (const char* base = std::getenv("XDG_RUNTIME_DIR"))
        return std::string(base) + "/safa-stream-plugins";
    return "/tmp/safa-stream-plugins-" + std::to_string(getuid());
#endif
}

class FileMapping {
public:
    FileMapping() = default;
    FileMapping(const FileMapping&) = delete;
    FileMapping& operator=(const FileMapping&) = delete;
    ~FileMapping() { close(); }

    void* data() const { return fData; }

    // Memory of `size` zero bytes, not seen by others before `publish`; nullptr where the system gives none.
    void* create(const std::string& path, size_t size)
    {
        fPath = path;
        fSize = size;
        const std::string partial = path + ".partial";
#if defined(_WIN32)
        // Not compiled by the project's tests.
        CreateDirectoryA(folder().c_str(), nullptr);
        fFile = CreateFileA(partial.c_str(), GENERIC_READ | GENERIC_WRITE | DELETE,
                            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, CREATE_NEW,
                            FILE_ATTRIBUTE_TEMPORARY, nullptr);
        if (fFile == INVALID_HANDLE_VALUE)
            return nullptr;
        fMapping = CreateFileMappingA(fFile, nullptr, PAGE_READWRITE, 0, static_cast<DWORD>(size), nullptr);
        fData = fMapping == nullptr ? nullptr : MapViewOfFile(fMapping, FILE_MAP_ALL_ACCESS, 0, 0, size);
#else
        mkdir(folder().c_str(), 0700);
        struct stat found;
        // In a folder that anybody may write into, somebody else may have been first.
        if (lstat(folder().c_str(), &found) != 0 || !S_ISDIR(found.st_mode) || found.st_uid != geteuid())
            return nullptr;
        const int file = open(partial.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0)
            return nullptr;
        void* data = ftruncate(file, static_cast<off_t>(size)) == 0
                         ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                         : MAP_FAILED;
#if defined(__linux__)
        // A full memory file system says so here, instead of with a signal in the audio thread.
        if (data != MAP_FAILED && posix_fallocate(file, 0, static_cast<off_t>(size)) != 0) {
            munmap(data, size);
            data = MAP_FAILED;
        }
#endif
        ::close(file);
        fData = data == MAP_FAILED ? nullptr : data;
#endif
        if (fData == nullptr) {
            close();
            return nullptr;
        }
        // Every page is there before the audio thread comes.
        std::memset(fData, 0, size);
        return fData;
    }

    bool publish()
    {
        fPublished = std::rename((fPath + ".partial").c_str(), fPath.c_str()) == 0;
        return fPublished;
    }

private:
    void close()
    {
#if defined(_WIN32)
        if (fData != nullptr)
            UnmapViewOfFile(fData);
        if (fMapping != nullptr)
            CloseHandle(fMapping);
        if (fFile != INVALID_HANDLE_VALUE)
            CloseHandle(fFile);
#else
        if (fData != nullptr)
            munmap(fData, fSize);
#endif
        if (!fPath.empty())
            std::remove((fPublished ? fPath : fPath + ".partial").c_str());
        fData = nullptr;
        fPath.clear();
    }

    std::string fPath;
    size_t fSize = 0;
    void* fData = nullptr;
    bool fPublished = false;
#if defined(_WIN32)
    HANDLE fFile = INVALID_HANDLE_VALUE;
    HANDLE fMapping = nullptr;
#endif
};

}  // namespace safa
