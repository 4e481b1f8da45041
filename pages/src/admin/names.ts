/** Names that may be meant to look like others. */

/** Letters that are mistaken for one another across scripts. */
const SCRIPTS = ["Latin", "Cyrillic", "Greek", "Armenian", "Cherokee", "Georgian", "Hebrew", "Arabic"] as const;
const PATTERNS = SCRIPTS.map((script) => ({ script, pattern: new RegExp(`\\p{Script=${script}}`, "u") }));

/** The scripts that a name mixes, if it mixes any: it may be meant to look like another one. */
export function mixedScripts(name: string): string[] {
  const found = PATTERNS.filter(({ pattern }) => pattern.test(name)).map(({ script }) => script);
  return found.length > 1 ? found : [];
}
