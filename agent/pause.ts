/** A wait that can be cut short, and leaves no timer behind. */

/** Waits, or less when aborted or woken; true when woken. */
export function pause(delayMs: number, signal: AbortSignal, offerWake?: (wake: () => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (woken: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve(woken);
    };
    const onAbort = (): void => end(false);
    const timer = setTimeout(() => end(false), delayMs);
    signal.addEventListener("abort", onAbort, { once: true });
    offerWake?.(() => end(true));
    if (signal.aborted) end(false);
  });
}
