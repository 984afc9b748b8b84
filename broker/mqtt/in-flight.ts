/**
 * What was sent to one client at QoS 1 and 2 and is not acknowledged, by packet identifier (MQTT 3.1.1, sections 2.3.1 and 4.3).
 */
import type { Entry } from "./durable.ts";

/** A PUBLISH that was sent. `entry`: of a stored session. */
export interface Sent {
  readonly qos: 1 | 2;
  readonly entry: Entry | undefined;
}

const packetIds = 65_535;

/** The window of one client. */
export class InFlight {
  /** Made when the first is sent: most clients only publish. */
  #sent: Map<number, Sent> | undefined;
  #next = 1;

  get size(): number {
    return this.#sent?.size ?? 0;
  }

  get(packetId: number): Sent | undefined {
    return this.#sent?.get(packetId);
  }

  set(packetId: number, sent: Sent): void {
    (this.#sent ??= new Map()).set(packetId, sent);
  }

  delete(packetId: number): void {
    this.#sent?.delete(packetId);
  }

  clear(): void {
    this.#sent?.clear();
  }

  /** An identifier that is not in use: the window is far smaller than their number. */
  takeId(): number {
    while (this.#sent?.has(this.#next) === true) this.#next = (this.#next % packetIds) + 1;
    const packetId = this.#next;
    this.#next = (packetId % packetIds) + 1;
    return packetId;
  }
}
