/**
 * How a code reaches a developer: by SMTP, or, where there is none, by the log of the authority and nothing else.
 *
 * The connection is TLS, with a certificate that is checked, unless the server is on this machine. What is logged of a mail
 * is its Message-ID: never its text, which holds a code, nor its address, nor what the server said, which may quote it.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { whyUnreachable } from "../../../shared/unreachable.ts";
import type { SendMail } from "../context.ts";
import { openMailQueue, type MailLimits, type Outcome } from "./mail-queue.ts";
import { isMailAddress, type MailAddress, type SmtpServer } from "./mail-settings.ts";

/** Together well below the life of a code. */
export const defaultMailLimits: MailLimits = {
  waiting: 1000,
  atOnce: 4,
  tryMilliseconds: 30_000,
  pausesMilliseconds: [2000, 15_000, 60_000],
  closeMilliseconds: 3000,
};

/** Where mails go and who they are from. */
export interface MailOptions {
  readonly smtp: SmtpServer;
  readonly from: MailAddress;
  readonly log: Logger;
  readonly limits?: Partial<MailLimits>;
}

/** What sends mails until it is closed. */
export interface Mailer {
  readonly send: SendMail;
  /** Takes nothing more, waits a moment for what is under way, and gives the rest up. */
  close(): Promise<void>;
}

/** Writes mails to the log, whole: who reads the log is the operator. */
export function writeToLog(log: Logger): SendMail {
  return ({ to, subject, text }) => log.info({ to, subject, text }, "mail");
}

/** Opens a queue of mails to an SMTP server. Nothing is connected before the first mail, and after each of them. */
export function openMail({ smtp, from, log, ...options }: MailOptions): Mailer {
  const limits: MailLimits = { ...defaultMailLimits, ...options.limits };
  let opening: ReturnType<typeof openTransport> | undefined;
  const domain = from.address.slice(from.address.lastIndexOf("@") + 1);
  const queue = openMailQueue(
    async (mail, messageId, signal) => {
      try {
        const transport = await (opening ??= openTransport(smtp, limits));
        await transport.sendMail({
          messageId,
          from,
          to: { name: "", address: mail.to },
          envelope: { from: from.address, to: [mail.to] },
          subject: mail.subject,
          text: mail.text,
          // RFC 3834, section 5: nobody's absence is answered
          headers: { "Auto-Submitted": "auto-generated" },
          signal,
        });
        return { isSent: true };
      } catch (error) {
        return explain(error);
      }
    },
    limits,
    log,
  );
  return {
    send(mail) {
      const messageId = `<${randomUUID()}@${domain}>`;
      if (isMailAddress(mail.to)) queue.add(mail, messageId);
      else log.error({ messageId, code: "EENVELOPE" }, "mail given up");
    },
    close: () => queue.close(),
  };
}

async function openTransport(smtp: SmtpServer, limits: MailLimits) {
  // most installations never load it
  const { createTransport } = await import("nodemailer");
  return createTransport({
    host: smtp.host,
    port: smtp.port,
    secure: smtp.isSecure,
    // on this machine STARTTLS is used where it is offered, and a certificate made by nobody in particular will do
    requireTLS: !smtp.isLocal && !smtp.isSecure,
    tls: {
      minVersion: "TLSv1.2",
      rejectUnauthorized: !smtp.isLocal || smtp.isSecure,
      ...(smtp.ca !== undefined && { ca: smtp.ca }),
    },
    ...(smtp.user !== undefined && { auth: { user: smtp.user, pass: smtp.password ?? "" } }),
    connectionTimeout: limits.tryMilliseconds,
    greetingTimeout: limits.tryMilliseconds,
    socketTimeout: limits.tryMilliseconds,
    dnsTimeout: limits.tryMilliseconds,
    maxResponseSize: 65_536,
    disableFileAccess: true,
    disableUrlAccess: true,
    logger: false,
  });
}

/** Failures in which the server's words have no part. */
const ofConnections: ReadonlySet<unknown> = new Set(["ECONNECTION", "ETIMEDOUT", "ESOCKET", "EDNS", "ETLS", "EABORT"]);

/** What may be known of a failure; one that the server means for good is final (RFC 5321, section 4.2.1). */
function explain(error: unknown): Outcome {
  const { code, responseCode, response } = error as { code?: string; responseCode?: number; response?: string };
  const isOfConnection = response === undefined && ofConnections.has(code);
  return {
    isSent: false,
    isFinal: responseCode === undefined ? code === "EENVELOPE" || code === "ECONFIG" : responseCode >= 500,
    facts: {
      code,
      ...(responseCode !== undefined && { status: responseCode }),
      ...(isOfConnection && { why: whyUnreachable(error) }),
    },
  };
}
