// A receiver on Express.
//
//     npm install
//     PRYNT_WEBHOOK_SECRET=whsec_... node server.js

import crypto from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";

const SECRETS = process.env.PRYNT_WEBHOOK_SECRET.split(","); // during a rotation: old,new
const TOLERANCE_S = 300;
const WINDOW_MS = 24 * 60 * 60 * 1000;

/** Why a delivery isn't to be trusted, or null if it is. */
function problem(headers, body) {
  const timestamp = headers["x-prynt-timestamp"];
  const signature = headers["x-prynt-signature"];
  if (!timestamp || !signature) return "a signature header is missing";
  if (!/^[0-9]{1,12}$/.test(timestamp)) return "the timestamp isn't a Unix time";
  if (!/^sha256=[0-9a-f]{64}$/.test(signature)) return "the signature isn't sha256=<hex>";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return "signed too long ago";
  const given = Buffer.from(signature.slice("sha256=".length), "hex");
  const matches = SECRETS.map((secret) =>
    crypto.timingSafeEqual(
      given,
      // The raw bytes: a body that was decoded and encoded again may not be what was signed.
      crypto.createHmac("sha256", secret).update(`${timestamp}.`).update(body).digest(),
    ),
  );
  return matches.includes(true) ? null : "the signature doesn't match";
}

// In memory, so for one process and until it ends; with Redis: SET key 1 NX EX 86400.
const seen = new Map();
function first(key) {
  const now = Date.now();
  for (const [old, until] of seen) {
    if (until > now) break; // a Map keeps its order, and every key has the same window
    seen.delete(old);
  }
  if (seen.has(key)) return false;
  seen.set(key, now + WINDOW_MS);
  return true;
}

/** Your own work; an event type that you don't know is no error. */
async function handle(event) {
  await sleep(1000 * Number(process.env.WORK_SECONDS ?? 0));
  console.log("processed", event.eventId, event.eventType);
}

const app = express();

app.post("/webhooks/prynt", express.raw({ type: () => true, limit: "1mb" }), (req, res) => {
  const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
  const refusal = problem(req.headers, body);
  if (refusal) return res.status(401).json({ error: refusal });
  let event;
  try {
    event = JSON.parse(body);
  } catch {
    return res.status(400).json({ error: "the body isn't JSON" });
  }
  if (!first(event.idempotencyKey)) return res.json({ skipped: true });
  res.json({ received: true });
  // In memory, so lost if this process dies: use a durable queue for what must not be.
  handle(event).catch((error) => console.log("failed", event.eventId, error));
});

app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("listening"));
