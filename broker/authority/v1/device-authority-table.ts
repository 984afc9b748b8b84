/** The rows of `/v1` that are about authorities elsewhere whose device certificates are accepted, for the table of routes. */
import {
  addDeviceAuthority,
  getDeviceAuthority,
  listDeviceAuthorities,
  removeDeviceAuthority,
} from "../../registry/device-authorities.ts";
import { importList } from "../../registry/revocation-lists.ts";
import { readCrlText } from "../certificates/crl-reader.ts";
import { toDeviceAuthority } from "./device-authority-bodies.ts";
import { all, change, create, one, remove, type Route } from "./registry-route.ts";

const authorities = "/v1/device-authorities";
const authority = `${authorities}/:name`;
/** A list may be far larger than anything else that is sent. */
const listBodyBytes = 16 * 1024 * 1024;

/** An authority is not changed but for its list; whoever wants another policy adds it anew. */
export const deviceAuthorityRoutes: readonly Route[] = [
  create(
    "admin",
    authorities,
    "NewDeviceAuthority",
    "DeviceAuthority",
    "name",
    ({ registry }, _, { needs_crl, ...b }) =>
      toDeviceAuthority(addDeviceAuthority(registry, { ...b, needsList: needs_crl })),
  ),
  all("admin", authorities, "DeviceAuthority", ({ registry }) => ({
    items: listDeviceAuthorities(registry).map(toDeviceAuthority),
  })),
  one("admin", authority, "DeviceAuthority", ({ registry }, p) =>
    toDeviceAuthority(getDeviceAuthority(registry, p.name)),
  ),
  remove("admin", authority, "accept no certificate of it any more", ({ registry }, p) =>
    removeDeviceAuthority(registry, p.name),
  ),
  {
    ...change("admin", "PUT", `${authority}/crl`, "RevocationList", "DeviceAuthority", ({ registry }, p, { crl }) => {
      const { certificate } = getDeviceAuthority(registry, p.name);
      return toDeviceAuthority(importList(registry, p.name, readCrlText(crl, certificate, registry.nowSeconds())));
    }),
    bodyBytes: listBodyBytes,
  },
];
