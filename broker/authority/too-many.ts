/** The refusal of whoever asks too often: `rate.limited` in 429, with when to come back. */
import { Refusal } from "../../shared/refusal.ts";

/** What is left of a quota after this request. */
export interface QuotaState {
  readonly limit: number;
  readonly remaining: number;
  /** Until there is the whole quota again. */
  readonly resetSeconds: number;
}

/** `rate.limited`, with when to come back. */
export class TooMany extends Refusal {
  readonly retryAfterSeconds: number;
  /** Where it is the quota that is used up. */
  readonly quota: QuotaState | undefined;

  constructor(retryAfterSeconds: number, detail = "", quota?: QuotaState) {
    super("rate.limited", detail);
    this.name = "TooMany";
    this.retryAfterSeconds = retryAfterSeconds;
    this.quota = quota;
  }
}
