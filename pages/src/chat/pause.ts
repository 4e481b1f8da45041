/** Waiting, for as long as somebody waits. */

/** How long to wait before the next attempt. */
export const backoff = (attempt: number): number => Math.min(1000 * 1.6 ** attempt, 8000);

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }));
}

/** Waits, and then until there is a connection. Gives back whether there was none. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  signal.throwIfAborted();
  const over = aborted(signal);
  await Promise.race([over, new Promise((resolve) => setTimeout(resolve, milliseconds))]);
  if (navigator.onLine) return false;
  await Promise.race([over, new Promise((resolve) => window.addEventListener("online", resolve, { once: true }))]);
  return true;
}
