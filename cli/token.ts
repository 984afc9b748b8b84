/** `postern token`: getting a token, having one checked, reading one without asking anybody, and taking one back. */
import type { Command } from "commander";
import { contextOf } from "./context.ts";
import { formatFacts, formatList, formatTime } from "./output.ts";
import { defineGet } from "./token-get.ts";
import { defineVerify } from "./token-verify.ts";

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  defineGet(noun);
  defineVerify(noun, readToken);

  noun
    .command("revoke")
    .description("revoke a token; the hash is what token inspect prints")
    .argument("<token-or-hash>", "base64url(CWT), JWT, or its hash in hex; - reads it from stdin")
    .option("--project <slug>", "the project whose it is; needed by developers")
    .action(async (argument: string, { project }: { project?: string }, command: Command) => {
      const text = await readToken(argument);
      const { tokenHashes } = await import("../shared/token.ts");
      // what is printed stays on screens and in logs: never the token
      const hash = /^01[0-9a-f]{64}$/i.test(text) ? text.toLowerCase() : tokenHashes(text)[0]!;
      const { revoke } = await import("./revoke.ts");
      await revoke(command, { tokens: [text] }, { what: `token ${hash}`, project });
    });

  noun
    .command("inspect")
    .description("decode a token without asking anybody; says nothing about whether it is good")
    .argument("<token>", "base64url(CWT) or JWT; - reads it from stdin")
    .action(async (argument: string, _options: object, command: Command) => {
      const { output } = contextOf(command);
      const text = await readToken(argument);
      const { describeToken } = await import("./token-description.ts");
      const description = describeToken(text);
      output.print(description, () => {
        const { bytes, format, kid, claims, allows, confirmation, hashes } = description;
        return formatFacts({
          token: `${format.toUpperCase()}, ${bytes} bytes, signed with key ${kid ?? "-"}`,
          subject: claims.sub,
          issuer: claims.iss,
          audience: claims.aud,
          issued: formatTime(claims.iat),
          expires: formatTime(claims.exp),
          id: claims.cti ?? claims.jti ?? "",
          "bound to": confirmation === null ? "no key (bearer)" : `${confirmation.kind} ${confirmation.sha256}`,
          allows: formatList(allows, "nothing"),
          hash: formatList(hashes),
        });
      });
    });
}

async function readToken(argument: string): Promise<string> {
  if (argument !== "-") return argument;
  const { readStdin } = await import("./stdin.ts");
  return (await readStdin(16_384)).toString("utf8").trim();
}
