/**
 * Judging times on a machine that others use as well: it may stand still for seconds, and what is then late is not late
 * because of the code.
 */

const everyMs = 20;

/** Looks how long this process stands still, from now on. */
export function watchStalls(): { readonly longestMs: () => number; readonly close: () => void } {
  let last = performance.now();
  let longest = 0;
  const look = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last - everyMs);
    last = now;
  };
  const timer = setInterval(look, everyMs);
  return {
    longestMs() {
      look();
      return longest;
    },
    close: () => clearInterval(timer),
  };
}

/**
 * Runs an attempt that judges times. One that fails counts only when this process did not stand still for `toleratedMs`
 * meanwhile; else it is made again, and the last of `attempts` counts in any case.
 */
export async function undisturbed(toleratedMs: number, attempt: () => Promise<void>, attempts = 20): Promise<void> {
  for (let left = attempts; ; left--) {
    const stalls = watchStalls();
    try {
      await attempt();
      return;
    } catch (error) {
      if (left <= 1 || stalls.longestMs() < toleratedMs) throw error;
    } finally {
      stalls.close();
    }
  }
}
