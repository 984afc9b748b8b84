/**
 * The line in which developers wait who want something changed. A change holds the event loop, the longest one that is synced
 * to the disk; so one begins in a turn of the loop, whosever it is, and tokens and MQTT go on between two of them. Who has had
 * a turn goes behind the others: many changes of one developer keep another waiting for one of them.
 *
 * The holder of the admin key does not wait here.
 */
import { TooMany } from "../too-many.ts";

/** How many changes one developer may have asked for at a time; further ones are refused. */
export const changeLimits = {
  /** That are being worked on, where they take more than a turn. */
  atOnce: 4,
  /** That wait, those whose body is still on its way among them. */
  waiting: 252,
} as const;

/** Where a request stands, from before its body is read. */
export interface ChangePlace {
  /** Resolves when the change may begin, or what comes before it; who asks again has done with that, and goes to the end. */
  turn(): Promise<void>;
  /** Call it once: after the change, or where there is none. */
  leave(): void;
}

/** The line of one authority. */
export interface ChangeLine {
  /** Throws `rate.limited`. */
  enter(developer: string): ChangePlace;
}

interface Asking {
  places: number;
  underWay: number;
  readonly waiting: (() => void)[];
}

/** Opens a line in which nobody stands. */
export function openChangeLine(): ChangeLine {
  /** In the order in which they have their turns. */
  const developers = new Map<string, Asking>();
  let isComing = false;

  function callNext(): void {
    if (isComing) return;
    isComing = true;
    setImmediate(beginOne);
  }

  function beginOne(): void {
    isComing = false;
    for (const [developer, asking] of developers) {
      if (asking.underWay >= changeLimits.atOnce) continue;
      const begin = asking.waiting.shift();
      if (begin === undefined) continue;
      asking.underWay++;
      developers.delete(developer);
      developers.set(developer, asking);
      begin();
      callNext();
      return;
    }
  }

  return {
    enter(developer) {
      const asking = developers.get(developer) ?? { places: 0, underWay: 0, waiting: [] };
      if (asking.places >= changeLimits.atOnce + changeLimits.waiting) throw new TooMany(1, "changes at a time");
      asking.places++;
      developers.set(developer, asking);
      let hasBegun = false;
      const end = (): void => {
        if (hasBegun) asking.underWay--;
        hasBegun = false;
        callNext();
      };
      return {
        turn() {
          end();
          return new Promise((resolve) => {
            asking.waiting.push(() => {
              hasBegun = true;
              resolve();
            });
          });
        },
        leave() {
          end();
          if (--asking.places === 0) developers.delete(developer);
        },
      };
    },
  };
}
