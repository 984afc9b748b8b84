/**
 * Judging times on a machine that others use as well: it may stand still for seconds, and what is then late is not late
 * because of the code.
 */

const everyMs = 20;
/** So often an attempt is made, at most. */
const attempts = 20;

/** Looks how long this process is kept from working, from now on. Its own work is none of that, however long it takes. */
export function watchStalls(): { readonly longestMs: () => number; readonly close: () => void } {
  let [last, lastWorked] = [performance.now(), workedMs()];
  let longest = 0;
  const look = (): void => {
    const [now, worked] = [performance.now(), workedMs()];
    longest = Math.max(longest, now - last - everyMs - (worked - lastWorked));
    [last, lastWorked] = [now, worked];
  };
  const timer = setInterval(look, everyMs).unref();
  return {
    longestMs() {
      look();
      return longest;
    },
    close: () => clearInterval(timer),
  };
}

function workedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Runs an attempt that judges times. One that fails counts only when this process did not stand still for `toleratedMs`
 * meanwhile; else it is made again, and the last one counts in any case.
 */
export async function undisturbed(toleratedMs: number, attempt: () => Promise<void>): Promise<void> {
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
