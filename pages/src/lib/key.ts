/** What makes a request that is sent again the same one: the value of an `Idempotency-Key`. */

/** A key that nobody else has. Pages that are not served securely have no `randomUUID`. */
export function newKey(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
