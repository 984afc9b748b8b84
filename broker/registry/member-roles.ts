/**
 * What a developer may do in a project, by the role that they have in it.
 *
 * An owner may do everything, an admin everything but decide who the owners are, an auditor read everything and change
 * nothing, an enroller make tickets for devices.
 */

/** What a request wants to do in a project. */
export type Permission = "read" | "audit" | "enrol" | "manage" | "own";

/** The roles of members. */
export type MemberRole = "owner" | "admin" | "auditor" | "enroller";

/** All permissions, least first. */
export const allPermissions: readonly Permission[] = ["read", "audit", "enrol", "manage", "own"];

/** What each role permits. */
export const permissionsOf: Readonly<Record<MemberRole, readonly Permission[]>> = {
  owner: allPermissions,
  admin: ["read", "audit", "enrol", "manage"],
  auditor: ["read", "audit"],
  enroller: ["read", "enrol"],
};
