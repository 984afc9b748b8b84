/** Small readers that the tests of shared/ have in common. */
import { Refusal, type Reason } from "../../shared/refusal.ts";

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function unhex(text: string): Uint8Array {
  return Buffer.from(text, "hex");
}

/** The reason with which something is refused; undefined when it is not. Anything else thrown is thrown on. */
export function reasonOf(run: () => unknown): Reason | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
}
