// The memory that the plugin shares with its bridge; server/safa_server/bridge/segment.py is the same layout in Python.
//
//     bridge ──► ring of frames ──► plugin        one writer and one reader each: an index is stored by one side only,
//     plugin ──► ring of events ──► bridge        with release, after what it stands for; the other loads it with acquire
//     plugin ──► text (state that a project holds) ──► bridge        texts have a number that is odd while
//     bridge ──► text (the scene as it is now) ──► plugin            they are written; who reads looks at it twice
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace safa {

constexpr char kMagic[9] = "SAFAPLUG";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kFrames = 1u << 18;
constexpr uint32_t kEvents = 1u << 12;
constexpr uint32_t kText = 1u << 16;

enum Status : uint32_t { kNoBridge = 0, kConnecting = 1, kPlaying = 2, kAway = 3 };
enum Kind : uint32_t { kParameterEvent = 1, kTransportEvent = 2, kJumpEvent = 3, kTempoEvent = 4 };

// index: the ring's frame that the plugin delivers next when it happens; which, a, b, c: by kind,
//   parameter  which parameter, a its value
//   transport  which 1 rolls, 0 stands; a the host's frame
//   jump       a the host's frame that would have come, b the one that came: a loop, or a click on the timeline
//   tempo      a beats a minute, b beats since the timeline's beginning, c beats a bar
struct Event {
    uint64_t index;
    uint32_t kind, which;
    double a, b, c;
};

struct Text {
    std::atomic<uint64_t> number;
    uint32_t length;
    uint32_t unused[13];
    char bytes[kText];

    // One thread at a time.
    void write(const std::string& text)
    {
        const uint64_t before = number.load(std::memory_order_relaxed);
        number.store(before + 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        length = static_cast<uint32_t>(text.size() < kText ? text.size() : 0);
        std::memcpy(bytes, text.data(), length);
        number.store(before + 2, std::memory_order_release);
    }

    // Whether there is a text and it was copied whole. Not for the audio thread.
    bool read(std::string& text) const
    {
        for (int tries = 0; tries < 1000; ++tries) {
            const uint64_t before = number.load(std::memory_order_acquire);
            if (before == 0)
                return false;
            text.assign(bytes, length <= kText ? length : 0);
            std::atomic_thread_fence(std::memory_order_acquire);
            if (before % 2 == 0 && number.load(std::memory_order_relaxed) == before)
                return true;
        }
        return false;
    }
};

struct Segment {
    char magic[8];
    uint32_t version, process, frames, events, text, unused[9];

    // Stored by the plugin.
    alignas(64) std::atomic<uint64_t> read;   // frames taken since the beginning
    std::atomic<uint64_t> eventsWritten;
    std::atomic<uint64_t> processed;          // frames that the host asked for
    std::atomic<uint64_t> underruns;          // times that frames ran out while they were expected
    std::atomic<uint64_t> missing;            // frames padded because of that
    std::atomic<uint32_t> rate;               // the host's
    std::atomic<uint32_t> lead;               // frames that the bridge is to keep ready
    std::atomic<uint32_t> latency;            // frames from an event to its being heard
    std::atomic<uint32_t> active;

    // Stored by the bridge.
    alignas(64) std::atomic<uint64_t> written;  // frames given since the beginning
    std::atomic<uint64_t> eventsRead;
    std::atomic<uint64_t> discard;              // frames before this one are not to be heard any more
    std::atomic<uint64_t> alive;                // grows while the bridge lives
    std::atomic<uint32_t> fedRate;              // the rate of the frames
    std::atomic<uint32_t> attached;             // differs with every bridge that comes; 0 before the first
    std::atomic<uint32_t> status;
    std::atomic<uint32_t> resting;              // 1: the session stands, so running dry is no underrun
    std::atomic<uint64_t> late;                 // commands that came after the sample they were meant for
    std::atomic<uint64_t> textTaken;            // number of the plugin's text that the bridge has carried out

    alignas(64) char session[64];
    alignas(64) Event ring[kEvents];
    alignas(64) Text fromPlugin;
    alignas(64) Text fromBridge;
    alignas(64) float sound[2 * kFrames];

    // Called on a memory of zeros.
    void begin(uint32_t processId)
    {
        std::memcpy(magic, kMagic, sizeof magic);
        version = kVersion;
        process = processId;
        frames = kFrames;
        events = kEvents;
        text = kText;
    }

    // Whether there was room. The audio thread's.
    bool push(uint32_t kind, uint32_t which, double a, double b = 0, double c = 0)
    {
        const uint64_t at = eventsWritten.load(std::memory_order_relaxed);
        if (at - eventsRead.load(std::memory_order_acquire) >= kEvents)
            return false;
        ring[at % kEvents] = Event{read.load(std::memory_order_relaxed), kind, which, a, b, c};
        eventsWritten.store(at + 1, std::memory_order_release);
        return true;
    }
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free, "locks");
static_assert(sizeof(Event) == 40 && offsetof(Segment, read) == 64 && offsetof(Segment, written) == 128, "layout");
static_assert(offsetof(Segment, session) == 192 && offsetof(Segment, ring) == 256, "layout");
static_assert(offsetof(Segment, fromPlugin) == 164096 && offsetof(Segment, fromBridge) == 229696, "layout");
static_assert(offsetof(Segment, sound) == 295296 && sizeof(Segment) == 295296 + 8 * kFrames, "layout");

}  // namespace safa
