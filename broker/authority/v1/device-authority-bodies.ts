/** The JSON of `/v1` that is about authorities elsewhere. */
import { z } from "zod";
import type { AuthorityRecord } from "../../registry/device-authorities.ts";
import { name } from "./registry-fields.ts";

const seconds = z.int().min(0);

/** What may be sent. */
export const sentOfAuthorities = {
  NewDeviceAuthority: z.strictObject({
    name,
    ca: z.string().min(1).max(16_000).meta({ description: "one certificate, PEM" }),
    needs_crl: z
      .boolean()
      .optional()
      .meta({ description: "whether its certificates are refused without a list that is not too old" }),
  }),
  RevocationList: z.strictObject({ crl: z.string().min(1).meta({ description: "PEM, or base64 of DER" }) }),
};

/** What is answered. */
export const answeredOfAuthorities = {
  DeviceAuthority: z.object({
    id: z.string().meta({ description: "of its key; what its certificates are named by" }),
    name: z.string(),
    subject: z.string(),
    needs_crl: z.boolean(),
    crl: z
      .object({
        number: z.string().nullable().meta({ description: "decimal; null for a list without" }),
        entries: z.int(),
        this_update: seconds,
        next_update: seconds,
      })
      .nullable()
      .meta({ description: "the list that was imported last" }),
    created_at: seconds,
  }),
};

/** An authority elsewhere as `/v1` shows it. */
export function toDeviceAuthority(record: AuthorityRecord): z.output<typeof answeredOfAuthorities.DeviceAuthority> {
  const { id, name: given, certificate, needsList, list, createdAt } = record;
  return {
    id,
    name: given,
    subject: certificate.subject,
    needs_crl: needsList,
    crl: list && { number: list.number, entries: list.entries, this_update: list.at, next_update: list.endsAt },
    created_at: createdAt,
  };
}
