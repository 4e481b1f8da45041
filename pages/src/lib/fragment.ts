/** Views that the fragment of the address names, so that links, reloads and the way back work. */

/**
 * Calls back when the address has changed, after it is made the page's own one: under its other one, with a slash at its end, each link
 * within the page would load it anew, as such links name the page. Gives back how to stop that.
 */
export function onPlace(page: string, look: () => void): () => void {
  const own = new URL(page, document.baseURI);
  if (location.pathname !== own.pathname) {
    own.search = location.search;
    own.hash = location.hash;
    history.replaceState(history.state, "", own);
  }
  window.addEventListener("popstate", look);
  window.addEventListener("hashchange", look);
  return () => {
    window.removeEventListener("popstate", look);
    window.removeEventListener("hashchange", look);
  };
}
