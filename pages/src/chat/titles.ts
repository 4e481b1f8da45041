/** What conversations are called on the page. */

/** Characters that show nothing: a title of them alone could not be seen. */
const INVISIBLE = /[\s\p{Cf}\p{Cc}\u115f\u1160\u3164\uffa0\u2800]/gu;

export function shownTitle(title: string): string {
  return title.replace(INVISIBLE, "") === "" ? "Untitled" : title;
}
