/**
 * Links to a session. Its id and its secret travel in the fragment, which browsers keep to themselves; once read, the
 * fragment is taken out of the address bar and kept for this tab only, so that reloading finds the session again.
 */

const KEPT = "safa.session";
const KEY = "safa.key";

/** Where the server's WebSocket is, beside this page. */
export function socketUrl(page = location) {
  const url = new URL("ws", page.href.split("#")[0].split("?")[0]);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/**
 * What the page's address says, or this tab remembers: `link`, {session, token, control} or null, and `key`, the server's
 * own token or "". In an address a token without a session is the server's own.
 */
export function readLink(page = location, storage = sessionStorage) {
  const values = new URLSearchParams(page.hash.slice(1));
  if (page.hash) history.replaceState(null, "", page.pathname);
  const [session, token] = [values.get("session"), values.get("token") ?? ""];
  if (session) return { key: "", link: { session, token, control: values.get("control") === "1" } };
  if (token) keepKey(token);
  return { key: storage.getItem(KEY) ?? "", link: JSON.parse(storage.getItem(KEPT) ?? "null") };
}

/** Remember the server's own token for this tab. */
export function keepKey(key, storage = sessionStorage) {
  storage.setItem(KEY, key);
}

export function keepLink(link, storage = sessionStorage) {
  if (link) storage.setItem(KEPT, JSON.stringify(link));
  else storage.removeItem(KEPT);
}

/** The address to hand on. */
export function makeLink({ session, token, control }, page = location) {
  const values = new URLSearchParams({ session, ...(token ? { token } : {}), ...(control ? { control: "1" } : {}) });
  return `${page.origin}${page.pathname}#${values}`;
}
