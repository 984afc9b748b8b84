/** Where mails go and who they are from, as operators write it. */
import { describe, expect, it } from "vitest";
import { readMailAddress, readSmtpServer, type SmtpServer } from "../../broker/authority/accounts/mail-settings.ts";

describe("the address of a server", () => {
  it.each<[string, SmtpServer]>([
    ["smtp://mail.example", { host: "mail.example", port: 587, isSecure: false, isLocal: false }],
    ["smtp://MAIL.example:25/", { host: "mail.example", port: 25, isSecure: false, isLocal: false }],
    ["smtps://mail.example", { host: "mail.example", port: 465, isSecure: true, isLocal: false }],
    ["smtp://localhost:1025", { host: "localhost", port: 1025, isSecure: false, isLocal: true }],
    ["smtp://127.0.0.2", { host: "127.0.0.2", port: 587, isSecure: false, isLocal: true }],
    ["smtp://[::1]:25", { host: "::1", port: 25, isSecure: false, isLocal: true }],
    ["smtp://127.evil.example", { host: "127.evil.example", port: 587, isSecure: false, isLocal: false }],
    ["smtp://localhost.evil.example", { host: "localhost.evil.example", port: 587, isSecure: false, isLocal: false }],
    [
      "smtp://u:p%40:@[2001:db8::1]",
      { host: "2001:db8::1", port: 587, isSecure: false, isLocal: false, user: "u", password: "p@:" },
    ],
  ])("%s", (text, server) => {
    expect(readSmtpServer(text)).toEqual(server);
  });

  it.each([
    ["", "is no address like"],
    ["mail.example", "is no address like"],
    ["mail.example:587", "is no address like"],
    ["http://mail.example", "is no address like"],
    ["smtp://", "is no address like"],
    ["smtp://:secret@", "is no address like"],
    ["smtp://mail.example:99999", "is no address like"],
    ["smtp://mail.example?secure=false", "has something after"],
    ["smtp://mail.example/?tls.rejectUnauthorized=false", "has something after"],
    ["smtp://mail.example#x", "has something after"],
    ["smtp://mail.example/box", "has something after"],
    ["smtp://secret@mail.example", "has a user without a password"],
    ["smtp://:secret@mail.example", "has a user without a password"],
    ["smtp://u:secret%zz@mail.example", "has a user or a password with a %"],
  ])("is not %j, and what it says does not hold it", (text, why) => {
    let said = "";
    try {
      readSmtpServer(text);
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toMatch(new RegExp(`^${why}`));
    expect(said).not.toContain("secret");
  });
});

describe("the sender", () => {
  it.each([
    ["postern@example.com", { name: "", address: "postern@example.com" }],
    [" Postern <postern@example.com> ", { name: "Postern", address: "postern@example.com" }],
    ['"Postern, at work" <postern@example.com>', { name: "Postern, at work", address: "postern@example.com" }],
    ["<postern@example.com>", { name: "", address: "postern@example.com" }],
  ])("%s", (text, address) => {
    expect(readMailAddress(text)).toEqual(address);
  });

  it.each([
    "",
    "Postern",
    "Postern <>",
    "a@b.example, c@d.example",
    "Postern <a@b.example> <c@d.example>",
    "a\r\nBcc: x <a@b.example>",
    "Postern <a@b.example\r\n>",
  ])("is not %j", (text) => {
    expect(() => readMailAddress(text)).toThrow("is no address like Postern <postern@example.com>");
  });
});
