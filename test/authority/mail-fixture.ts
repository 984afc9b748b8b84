/** A mail server for a test and a mailer with a log that is read line by line; both are closed after the test. */
import { EventEmitter, once } from "node:events";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { afterEach, expect } from "vitest";
import { openMail, type Mailer } from "../../broker/authority/accounts/mail.ts";
import type { MailLimits } from "../../broker/authority/accounts/mail-queue.ts";
import { readMailAddress, readSmtpServer, type SmtpServer } from "../../broker/authority/accounts/mail-settings.ts";

export const CODE = "7H3K9QW2XA";
export const mail = { to: "ada@example.com", subject: "Your code", text: `The code is ${CODE}.\n` };
const from = readMailAddress("Postern <postern@example.org>");

export interface Arrived {
  readonly sender: string | undefined;
  readonly recipients: readonly string[];
  readonly head: string;
  readonly text: string;
  readonly isEncrypted: boolean;
  readonly user: string | undefined;
}

export const opened: Array<() => unknown> = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

/** A server on a free port, and what arrived at it. STARTTLS is offered where there is a key. */
export async function openServer(options: SMTPServerOptions = {}) {
  const arrived: Arrived[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: options.key === undefined ? ["STARTTLS"] : [],
    logger: false,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const [head, ...rest] = Buffer.concat(chunks).toString("utf8").split("\r\n\r\n");
        const { mailFrom, rcptTo } = session.envelope;
        arrived.push({
          sender: mailFrom === false ? undefined : mailFrom.address,
          recipients: rcptTo.map(({ address }) => address),
          head: head!,
          text: rest.join("\r\n\r\n"),
          isEncrypted: session.secure,
          user: session.user,
        });
        done();
      });
    },
    ...options,
  });
  // a client that does not trust the certificate leaves in the middle of the handshake
  server.on("error", () => undefined);
  await once(server.listen(0, "127.0.0.1"), "listening");
  opened.push(() => new Promise<void>((resolve) => server.close(resolve)));
  const { port } = server.server.address() as AddressInfo;
  return { port, arrived };
}

/** A mailer with a log that is read line by line. Nothing is waited for longer than it takes. */
export function openMailer(smtp: SmtpServer, limits: Partial<MailLimits> = {}) {
  const lines: Record<string, unknown>[] = [];
  const written = new EventEmitter();
  const log = pino(
    {
      level: "trace",
      base: null,
      timestamp: false,
    },
    {
      write(line: string) {
        lines.push(JSON.parse(line) as Record<string, unknown>);
        written.emit("line");
      },
    },
  );
  const mailer: Mailer = openMail({ smtp, from, log, limits: { pausesMilliseconds: [1, 1], ...limits } });
  opened.push(() => mailer.close());
  return {
    mailer,
    lines,
    /** The lines once the last one says this so many times. */
    until: async (msg: string, times = 1): Promise<Record<string, unknown>[]> => {
      while (lines.filter((line) => line["msg"] === msg).length < times) await once(written, "line");
      return lines;
    },
  };
}

export const local = (port: number, more: Partial<SmtpServer> = {}): SmtpServer => ({
  ...readSmtpServer(`smtp://localhost:${port}`),
  ...more,
});
export const messageId = expect.stringMatching(/^<[0-9a-f-]{36}@example\.org>$/);
