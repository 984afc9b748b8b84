/**
 * How a request under `/v1` is read: one strict zod parse, fields that are not known refused, each problem with its
 * path. The checks of names and permissions are those of `shared/`, so there is one rule for them.
 */
import { z } from "zod";
import { assertName, assertSlug } from "../../../shared/names.ts";
import { Refusal } from "../../../shared/refusal.ts";
import { parsePermission } from "../../../shared/scope.ts";

/** What is wrong with one field, as RFC 9457, section 3, shows it. */
export interface FieldError {
  readonly detail: string;
  /** JSON pointer into the body (or the query), `#/` and the path. */
  readonly pointer: string;
}

/** `registry.invalid` with all fields at fault. */
export class InvalidFields extends Refusal {
  /** The extension member of the problem document. */
  readonly errors: readonly FieldError[];

  constructor(faults: readonly Fault[]) {
    super(
      "registry.invalid",
      faults.map(({ path, says }) => [path.join("."), says].filter(Boolean).join(": ")).join("; "),
    );
    this.name = "InvalidFields";
    this.errors = faults.map(({ path, says }) => ({ detail: says, pointer: `#/${path.map(escapeStep).join("/")}` }));
  }
}

interface Fault {
  readonly path: readonly string[];
  readonly says: string;
}

const maxErrors = 20;

/** Parses once. Throws {@link InvalidFields}. */
export function readFields<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new InvalidFields(firstOfEach(result.error.issues.slice(0, maxErrors).flatMap(toFaults)));
}

/** A project's slug. */
export const slug = text(assertSlug, { pattern: "^[a-z][a-z0-9-]{1,30}$" });
/** The name of an api, a role or a client. */
export const name = text(assertName, { pattern: "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$" });
/** `pub:FILTER`, `sub:FILTER` or `pubsub:FILTER`. */
export const permission = text(parsePermission, { examples: ["pub:sites/${name}/#"] });

/** How much of a list is answered at once, as it stands in a query. */
export function limit(byDefault: number): z.ZodType<number, string | undefined> {
  return z
    .string()
    .regex(/^[1-9][0-9]{0,4}$/, "a whole number from 1 to 10000")
    .optional()
    .meta({ description: `1 to 10000, ${byDefault} by default` })
    .transform((value) => (value === undefined ? byDefault : Math.min(Number(value), 10_000)));
}

/** A text that a check of `shared/` or of the registry lets pass: it throws a refusal for others. */
export function text(check: (value: string) => unknown, meta: Record<string, unknown>): z.ZodString {
  return z
    .string()
    .max(600, { abort: true })
    .superRefine((value, context) => {
      try {
        check(value);
      } catch (error) {
        context.addIssue({ code: "custom", message: error instanceof Refusal ? error.detail : "not valid" });
      }
    })
    .meta(meta);
}

/** A text that is taken as it stands: 1 to `longest` characters, none of them a control character or half of one. */
export function plain(longest: number): z.ZodString {
  return z
    .string()
    .min(1)
    .max(longest)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, "no control characters");
}

/** Something of ours that is named: 1 to `longest` characters of ASCII, none of them a space. */
export function reference(longest: number): z.ZodString {
  return z
    .string()
    .min(1)
    .max(longest)
    .regex(/^[\x21-\x7e]*$/, "printable ASCII without spaces");
}

/** Where a field has several faults the first says enough, and the others may follow from it. */
function firstOfEach(faults: readonly Fault[]): Fault[] {
  const places = faults.map(({ path }) => JSON.stringify(path));
  return faults.filter((_, index) => places.indexOf(places[index]!) === index);
}

function toFaults(issue: z.core.$ZodIssue): Fault[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ path, says: lowerFirst(issue.message) }];
  return issue.keys.map((key) => ({ path: [...path, key.slice(0, 64)], says: "not a known field" }));
}

/** As the other messages are. */
function lowerFirst(message: string): string {
  return message.slice(0, 1).toLowerCase() + message.slice(1);
}

/** RFC 6901, section 3. */
function escapeStep(step: string): string {
  return step.replaceAll("~", "~0").replaceAll("/", "~1");
}
