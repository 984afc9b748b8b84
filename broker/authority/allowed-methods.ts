/**
 * Which methods a path has, for whoever asks with another (RFC 9110, section 15.5.6). By what the paths look like alone: it says
 * nothing of what there is.
 */
import type { FastifyInstance } from "fastify";

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/** Notes the routes that are registered from now on; gives the methods of a path without its query. */
export function noteRoutes(app: FastifyInstance): (path: string) => string[] {
  const noted: { readonly form: RegExp; readonly method: string }[] = [];
  app.addHook("onRoute", ({ url, method }) => {
    const form = new RegExp(`^${url.replaceAll(".", "\\.").replaceAll(/:[a-z]+/g, "[^/]+")}$`);
    for (const one of [method].flat()) noted.push({ form, method: one });
  });
  return (path) => {
    const found = new Set(noted.filter(({ form }) => form.test(path)).map(({ method }) => method));
    return methods.filter((method) => found.has(method));
  };
}
