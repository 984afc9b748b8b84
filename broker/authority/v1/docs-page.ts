/**
 * `GET /docs`: the OpenAPI document as a page for people. It is one file without script, and loads nothing from anywhere.
 */
import { createHash } from "node:crypto";
import type { Json } from "./openapi-parts.ts";

/** The page, and the policy that keeps it from doing anything but being read. */
export interface DocsPage {
  readonly html: string;
  readonly policy: string;
}

const methods = ["get", "post", "put", "patch", "delete"] as const;

const style = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); text-transform: capitalize; }
nav a { display: inline-block; margin-right: 1rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
code, .path { font-family: ui-monospace, monospace; font-size: .92em; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--soft); }
`;

/** Writes the page. Everything that the document says is escaped. */
export function docsPage(document: Json): DocsPage {
  const { info, tags, paths, components } = document as unknown as OpenApi;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    methods.filter((method) => item[method] !== undefined).map((method) => ({ path, method, ...item[method]! })),
  );
  const schemas = Object.entries(components.schemas);
  const common = commonAnswers(operations);
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${text(info.title)}</title>
<style>${style}</style>
</head>
<body>
<h1>${text(info.title)}</h1>
<p>${prose(info.description)}. The same for programs: <a href="openapi.json">openapi.json</a>.</p>
<h2 id="credentials">credentials</h2>
${table(
  ["name", "what it is"],
  Object.entries(components.securitySchemes).map(([name, { description }]) => [code(name), prose(description)]),
)}
<h2 id="answers">answers</h2>
<p>Any request may be answered with</p>
${table(
  ["answer", "what"],
  [...common].map(([status, reference]) => [
    code(status),
    prose(components.responses[lastWord(reference)]!.description!),
  ]),
)}
<nav aria-label="groups">${tags.map(({ name }) => `<a href="#${text(name)}">${text(name)}</a>`).join("")}<a href="#shapes">shapes</a></nav>
${tags
  .map(
    ({ name }) => `<section aria-labelledby="${text(name)}"><h2 id="${text(name)}">${text(name)}</h2>
${operations
  .filter((operation) => operation.tags.includes(name))
  .map((operation) => toDetails(operation, common))
  .join("\n")}</section>`,
  )
  .join("\n")}
<section aria-labelledby="shapes"><h2 id="shapes">shapes</h2>
${schemas.map(([name, schema]) => `<h3 id="shape-${text(name)}">${text(name)}</h3>${toFields(schema)}`).join("\n")}</section>
</body>
</html>
`;
  const hash = createHash("sha256").update(style).digest("base64");
  return {
    html,
    policy: `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}

/** References that all operations have under the same status: said once, and not with each. */
function commonAnswers(operations: readonly Operation[]): ReadonlyMap<string, string> {
  const [first, ...others] = operations.map(({ responses }) => responses);
  const found = Object.entries(first ?? {}).flatMap(([status, { $ref }]): [string, string][] =>
    $ref !== undefined && others.every((responses) => responses[status]?.$ref === $ref) ? [[status, $ref]] : [],
  );
  return new Map(found);
}

function toDetails(
  operation: Operation & { readonly path: string; readonly method: string },
  common: ReadonlyMap<string, string>,
): string {
  const { path, method, summary, description = "", parameters = [], requestBody, responses } = operation;
  const sent = Object.entries(requestBody?.content ?? {});
  const credentials = operation.security?.flatMap((one) => Object.keys(one)).map(code) ?? [];
  return `<details><summary><span class="method">${text(method.toUpperCase())}</span><span class="path">${text(path)}</span> ${text(summary)}</summary>
<p>${prose(description)}${credentials.length === 0 ? "" : ` Credential: ${credentials.join(" or ")}.`}</p>
${
  parameters.length === 0
    ? ""
    : table(
        ["parameter", "in", "what"],
        parameters.map((one) => [
          code(one.name),
          text(one.in),
          prose(one.description ?? one.schema.description ?? typeOf(one.schema)),
        ]),
      )
}
${sent.length === 0 ? "" : `<p>Sends ${toForms(sent)}.</p>`}
${table(
  ["answer", "what"],
  Object.entries(responses)
    .filter(([status]) => !common.has(status))
    .map(([status, answer]) => [code(status), toAnswer(answer)]),
)}</details>`;
}

function toAnswer({ $ref, description, headers, content }: ResponseOf): string {
  if ($ref !== undefined) return text(lastWord($ref));
  const forms = Object.entries(content ?? {});
  const names = Object.keys(headers ?? {}).map(code);
  return [
    prose(description ?? ""),
    ...(forms.length === 0 ? [] : [toForms(forms)]),
    ...(names.length === 0 ? [] : [`with ${names.join(", ")}`]),
  ].join(" – ");
}

/** A body in each of its media types; those of one shape together. JSON alone is what one expects, and is not named. */
function toForms(forms: readonly (readonly [type: string, { readonly schema: Schema }])[]): string {
  const types = new Map<string, string[]>();
  for (const [type, { schema }] of forms) {
    const shape = shapeOf(schema);
    types.set(shape, [...(types.get(shape) ?? []), type]);
  }
  return [...types]
    .map(([shape, names]) =>
      /^application\/(problem\+)?json$/.test(names.join()) ? shape : `${shape} as ${names.map(code).join(", ")}`,
    )
    .join("; or ");
}

function toFields(schema: Schema): string {
  const required = new Set(schema.required);
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => [
    code(name),
    required.has(name) ? "needed" : "",
    `${text(typeOf(field))}${field.description === undefined ? "" : ` – ${prose(field.description)}`}`,
  ]);
  const about = schema.description === undefined ? "" : `<p>${prose(schema.description)}</p>`;
  return about + (rows.length === 0 ? "" : table(["field", "", "what"], rows));
}

/** What a field may be, in a few words. */
function typeOf(field: Schema): string {
  if (field.enum !== undefined) return field.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (field.const !== undefined) return JSON.stringify(field.const);
  const any = field.anyOf ?? field.oneOf;
  if (any !== undefined) return any.map(typeOf).join(" | ");
  if (field.$ref !== undefined) return lastWord(field.$ref);
  const bounds = [
    isBound(field.minimum) ? `from ${String(field.minimum)}` : "",
    isBound(field.maximum) ? `to ${String(field.maximum)}` : "",
    field.maxLength === undefined ? "" : `at most ${String(field.maxLength)} characters`,
    field.maxItems === undefined ? "" : `at most ${String(field.maxItems)}`,
  ].filter((bound) => bound !== "");
  const types = [field.type ?? "anything"].flat().join(" or ");
  const type = types === "array" ? `list of ${typeOf(field.items ?? {})}` : types;
  return [type, field.format, ...bounds].filter((word) => word !== undefined).join(", ");
}

/** Whether it says more than that a number is one that JavaScript can count to. */
function isBound(bound: number | undefined): boolean {
  return bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
}

function shapeOf(schema: Schema): string {
  if (schema.$ref !== undefined) {
    const name = lastWord(schema.$ref);
    return `<a href="#shape-${text(name)}">${text(name)}</a>`;
  }
  const items = schema.properties?.["items"]?.items;
  if (items !== undefined) return `a list of ${shapeOf(items)}`;
  return schema.description === undefined ? text(typeOf(schema)) : prose(schema.description.replace(/\.$/, ""));
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = heads.map((one) => `<th scope="col">${text(one)}</th>`).join("");
  const body = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("\n");
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table>`;
}

function lastWord(reference: string): string {
  return reference.split("/").at(-1)!;
}

function code(words: string): string {
  return `<code>${text(words)}</code>`;
}

/** Escaped, and what stands between backticks as code. */
function prose(words: string): string {
  return text(words).replaceAll(/`([^`]*)`/g, "<code>$1</code>");
}

function text(words: string): string {
  return words
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** As far as this page reads the document. */
interface OpenApi {
  readonly info: { readonly title: string; readonly description: string };
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Partial<Record<(typeof methods)[number], Operation>>>>;
  readonly components: {
    readonly responses: Readonly<Record<string, ResponseOf>>;
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly securitySchemes: Readonly<Record<string, { readonly description: string }>>;
  };
}

interface Operation {
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly security?: readonly Readonly<Record<string, unknown>>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, ResponseOf>>;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly description?: string;
  readonly schema: Schema;
}

interface ResponseOf {
  readonly $ref?: string;
  readonly description?: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
}
