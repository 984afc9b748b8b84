/** How a program that runs until it is told to end hears of it. */

/** Resolves with the first SIGTERM or SIGINT; after it the next one has its default effect. */
export function untilSignalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const end = (signal: NodeJS.Signals): void => {
      process.off("SIGTERM", end);
      process.off("SIGINT", end);
      resolve(signal);
    };
    process.on("SIGTERM", end);
    process.on("SIGINT", end);
  });
}
