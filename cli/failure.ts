/**
 * How a command fails: exit code 1 when it was refused or did not work, 2 when it was called wrongly. The reader gets one
 * line, `postern: <what>: <why>`; the command name is added by the program, which knows what was called.
 */

/** An expected failure of a command. */
export class CommandFailure extends Error {
  readonly exitCode: 1 | 2;

  constructor(why: string, exitCode: 1 | 2 = 1) {
    super(why);
    this.name = "CommandFailure";
    this.exitCode = exitCode;
  }
}

/** Throws for a call that cannot be right, exit code 2. */
export function failUsage(why: string): never {
  throw new CommandFailure(why, 2);
}

/** Throws for what did not work, exit code 1. */
export function fail(why: string): never {
  throw new CommandFailure(why, 1);
}

/** Does what developers may do of a project alone: where the admin key is wanted and none was named, the line says so. */
export async function orOfProject<T>(project: string | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isForbidden =
      error instanceof Error && error.name === "AdminFailure" && "status" in error && error.status === 403;
    if (project !== undefined || !isForbidden) throw error;
    return fail(`${error.message}; of a project: --project`);
  }
}

/** Ends with exit code 1 where the answer that was asked for is a no: it has been printed, and no line says it again. */
export function endWithNo(): never {
  throw new CommandFailure("");
}
