/**
 * The requests of the HTTP benchmarks, as the same client and the same api send them to ours and to oidc-provider.
 */
import { toRequest } from "../http-load.ts";
import { KEY_CLIENT, SECRET_CLIENT, WEB_API, WEB_AUDIENCE, WEB_SCOPE, type Provider } from "./provider.ts";

/** Where oidc-provider answers. */
export const theirPaths = { token: "/token", introspection: "/token/introspection" } as const;

const grant = { grant_type: "client_credentials", scope: WEB_SCOPE };
/** What the two call the api in a token request; nothing: an opaque token of oidc-provider. */
export const target = {
  ours: { audience: WEB_AUDIENCE },
  theirs: { resource: "https://web.example" },
  opaque: {},
} as const;

type Target = (typeof target)[keyof typeof target];

/** A token request with the secret of the client in HTTP Basic. */
export function askBySecret(path: string, { secret }: Provider, named: Target): Buffer {
  return toForm(path, { ...grant, ...named }, basic(SECRET_CLIENT, secret));
}

/** A token request with an assertion of the client (RFC 7523), made anew for each. */
export function askByKey(path: string, provider: Provider, named: Target, issuer: string): Buffer {
  return toForm(path, {
    ...grant,
    ...named,
    client_id: KEY_CLIENT,
    client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    client_assertion: provider.assertion(issuer),
  });
}

/** A question about a token, with the credential of the api. */
export function askAbout(path: string, { apiSecret }: Provider, token: string): Buffer {
  return toForm(path, { token }, basic(WEB_API, apiSecret));
}

/** The member of an answer in JSON. */
export function readToken(answer: Buffer): string {
  return (JSON.parse(answer.toString()) as { access_token: string }).access_token;
}

function toForm(path: string, fields: Readonly<Record<string, string>>, authorization?: string): Buffer {
  const type = { "content-type": "application/x-www-form-urlencoded" };
  const headers = authorization === undefined ? type : { ...type, authorization };
  return toRequest("POST", path, headers, new URLSearchParams(fields).toString());
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(user)}:${encodeURIComponent(password)}`).toString("base64")}`;
}
