/**
 * Entries that are removed and go from the disk with the next commit: those that follow one another in one statement, since
 * most are acknowledged in the order in which they were sent.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { Session } from "./session.ts";

interface Removal {
  readonly session: Session;
  readonly sequence: number;
  /** 0: others still need it. */
  readonly message: number;
}

const deleteEntries = `DELETE FROM queue WHERE session = ? AND sequence BETWEEN ? AND ?`;
const deleteMessages = `DELETE FROM message WHERE id BETWEEN ? AND ?`;

/** What is to be deleted from the queues, and messages that nobody needs any more. */
export class Removals {
  readonly #db: Database;
  #list: Removal[] = [];

  constructor(db: Database) {
    this.#db = db;
  }

  /** Adds an entry; its message as well, unless that is 0. */
  add(session: Session, sequence: number, message: number): void {
    session.gone.add(sequence);
    this.#list.push({ session, sequence, message });
  }

  /** Deletes all of it, in the open transaction. */
  write(): void {
    const list = this.#list;
    if (list.length === 0) return;
    const ofQueue = statement(this.#db, deleteEntries);
    for (let at = 0; at < list.length;) {
      const { session, sequence: first } = list[at]!;
      let next = first;
      for (; list[at]?.session === session && list[at]!.sequence === next; at++) next++;
      ofQueue.run(session.id, first, next - 1);
    }
    const messages = list.map(({ message }) => message).filter((message) => message !== 0);
    messages.sort((a, b) => a - b);
    const ofMessage = statement(this.#db, deleteMessages);
    for (let at = 0; at < messages.length;) {
      const first = messages[at]!;
      let next = first;
      for (; messages[at] === next; at++) next++;
      ofMessage.run(first, next - 1);
    }
  }

  /** It is not on disk any more. */
  settled(): void {
    for (const { session, sequence } of this.#list) session.gone.delete(sequence);
    this.#list = [];
  }
}
