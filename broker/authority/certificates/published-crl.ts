/**
 * The list of revoked certificates as it is given out: made when somebody asks and something has changed, or a quarter of its
 * time is over, and kept until then.
 *
 * Making it takes turns with everything else, and the longer it takes the longer it rests: who asks all the time for a long
 * list that changes all the time costs a tenth of the processor at most, and waits.
 */
import { setImmediate as turn, setTimeout as rest } from "node:timers/promises";
import { nameAuthority } from "../../../shared/device-certificate.ts";
import { crlEntries, nextCrlNumber } from "../../registry/crl-entries.ts";
import type { Registry } from "../../registry/registry.ts";
import type { CertificateAuthority } from "./certificates.ts";
import { encodeCrlEntries, issueCrl } from "./crl.ts";
import { toTag } from "../entity-tag.ts";

/** A list as it was signed. Times in seconds. */
export interface PublishedCrl {
  readonly der: Uint8Array;
  /** Differs from list to list. */
  readonly tag: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/** Gives out the list. */
export interface CrlPublisher {
  /** The list with everything that was revoked before it was called. */
  read(): Promise<PublishedCrl>;
  close(): void;
}

/** From one list to its nextUpdate. */
const defaultSpanSeconds = 86_400;
/** For each second of making, so many of rest. */
const restShare = 9;
const shortestRestMs = 100;

/** Starts to listen for changes; {@link CrlPublisher.close} ends that. */
export function openCrl(
  registry: Registry,
  ca: Pick<CertificateAuthority, "caDer" | "caCertificate" | "signCrl">,
  spanSeconds = defaultSpanSeconds,
): CrlPublisher {
  const authority = nameAuthority(ca.caCertificate);
  let current: { readonly list: PublishedCrl; readonly entries: Buffer } | undefined;
  let isChanged = true;
  let making: Promise<PublishedCrl> | undefined;
  let restsUntil = 0;
  const forget = registry.onChange(() => void (isChanged = true));

  const isRecent = ({ thisUpdate }: PublishedCrl): boolean => {
    const age = registry.nowSeconds() - thisUpdate;
    return age >= 0 && age < spanSeconds / 4;
  };
  const known = (): PublishedCrl | undefined =>
    !isChanged && current !== undefined && isRecent(current.list) ? current.list : undefined;

  const make = async (): Promise<PublishedCrl> => {
    const pause = restsUntil - performance.now();
    await (pause > shortestRestMs ? rest(pause, undefined, { ref: false }) : turn());
    const started = performance.now();
    isChanged = false;
    try {
      const thisUpdate = registry.nowSeconds();
      const slices: Uint8Array[] = [];
      // section 3.3: an entry stays until a list has shown it that came after the certificate's end
      for (const slice of crlEntries(registry, thisUpdate - spanSeconds)) {
        slices.push(encodeCrlEntries(slice));
        await turn();
      }
      const entries = Buffer.concat(slices);
      if (current !== undefined && isRecent(current.list) && current.entries.equals(entries)) return current.list;
      const nextUpdate = thisUpdate + spanSeconds;
      const number = nextCrlNumber(registry, authority);
      const der = await issueCrl(ca, { number, thisUpdate, nextUpdate, entries });
      // the end of it is the signature, of which no two are the same
      const tag = toTag(der.subarray(-64));
      current = { list: { der, tag, thisUpdate, nextUpdate }, entries };
      return current.list;
    } catch (error) {
      isChanged = true;
      throw error;
    } finally {
      const ended = performance.now();
      restsUntil = ended + restShare * (ended - started);
      making = undefined;
    }
  };

  return {
    async read() {
      const ready = known();
      if (ready !== undefined) return ready;
      // one that is being made may have begun before what this reader must see
      await making?.catch(() => undefined);
      return known() ?? (making ??= make());
    },
    close: forget,
  };
}
