/** A whole number above zero, perhaps with commas or spaces between its thousands; nothing if it is none, as `1,5`. */
export function wholeNumber(text: string): number | null {
  const typed = text.trim();
  if (!/^(\d+|\d{1,3}([, \u00a0\u202f]\d{3})+)$/.test(typed)) return null;
  const value = Number(typed.replace(/\D/g, ""));
  // The most that is exact for every reader of JSON is the most that a balance can hold.
  return value > 0 && Number.isSafeInteger(value) ? value : null;
}
