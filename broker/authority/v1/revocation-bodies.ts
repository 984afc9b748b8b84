/** What is sent and answered under `/v1` where something is taken back, by the administrator or by a project. */
import { z } from "zod";
import { reference, slug } from "./registry-fields.ts";

const seconds = z.int().min(0);
/** Entries of each kind in one revocation. */
const maxRevoked = 10_000;
const revoked = (what: string, longest: number): z.ZodOptional<z.ZodArray<z.ZodString>> =>
  z.array(reference(longest)).max(maxRevoked).optional().meta({ description: what });

/** A time as whole seconds, as RFC 3339 text, or `now`: the second that is under way at the authority. */
const past = z.union([seconds, z.iso.datetime({ offset: true }), z.literal("now")], {
  error: "whole seconds, an RFC 3339 time, or now",
});

const isEmpty = (wished: unknown): boolean => Array.isArray(wished) && wished.length === 0;

/** What may be sent. */
export const sentOfRevocations = {
  ProjectRevocations: z
    .strictObject({
      tokens: revoked("base64url(CWT), JWTs, or token hashes of RFC 9770 in hex, of clients of the project", 5_600),
      certificates: revoked("serial numbers, hex, of certificates of its clients", 128),
      clients: revoked("ids of its clients; they are disabled", 128),
      before: past.optional().meta({ description: "tokens of its clients that were issued before a time" }),
    })
    .refine((wish) => Object.values(wish).some((list) => list !== undefined && !isEmpty(list)), {
      error: "nothing to revoke",
      when: ({ issues }) => issues.length === 0,
    }),
  Revocations: z
    .strictObject({
      tokens: revoked("base64url(CWT), JWTs, or token hashes of RFC 9770 in hex", 5_600),
      certificates: revoked("serial numbers, hex", 128),
      clients: revoked("ids; they are disabled", 128),
      keys: revoked("kids of signing keys", 64),
      projects: z
        .array(z.strictObject({ project: slug, before: past }))
        .max(maxRevoked)
        .optional()
        .meta({ description: "tokens of their clients that were issued before a time" }),
    })
    .refine((wish) => Object.values(wish).some((list) => list !== undefined && list.length > 0), {
      error: "nothing to revoke",
      when: ({ issues }) => issues.length === 0,
    }),
};

const count = z.int().min(0);

/** What is answered. */
export const answeredOfRevocations = {
  /** How many of each were not revoked before. */
  Revoked: z.object({ tokens: count, certificates: count, clients: count, keys: count, projects: count }),
};
