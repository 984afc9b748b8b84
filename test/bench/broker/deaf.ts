/**
 * A subscriber that stops reading as soon as it has subscribed, and comes back when it is disconnected.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Link } from "./link.ts";

/** Who does not read what. */
export interface DeafSpec {
  readonly port: number;
  readonly connect: Uint8Array;
  readonly filter: string;
  readonly qos: 0 | 1;
}

const retryMs = 100;

/** Subscribed, and reading nothing. */
export class Deaf {
  #link: Link | undefined;
  #isLeaving = false;

  static async open(spec: DeafSpec): Promise<Deaf> {
    const deaf = new Deaf();
    await deaf.#join(spec);
    return deaf;
  }

  leave(): void {
    this.#isLeaving = true;
    this.#link?.socket.destroy();
  }

  async #join(spec: DeafSpec): Promise<void> {
    const link = await Link.open(spec.port, Buffer.from(spec.connect));
    this.#link = link;
    await link.subscribe(spec.filter, spec.qos);
    link.socket.pause();
    link.onProgress = () => {
      if (link.isClosed && !this.#isLeaving) void this.#joinAgain(spec);
    };
  }

  async #joinAgain(spec: DeafSpec): Promise<void> {
    while (!this.#isLeaving) {
      await sleep(retryMs);
      const isBack = await this.#join(spec).then(
        () => true,
        () => false,
      );
      if (isBack) return;
    }
  }
}
