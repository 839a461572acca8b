/**
 * Checks what fieldsync proves of completions, without the server: receipts (C2SP tlog-proof), checkpoints (C2SP tlog-checkpoint)
 * and the consistency of one checkpoint with another. It needs the log's public key and nothing else: no network, no package.
 * It runs wherever WebCrypto has Ed25519 (Node.js 20, current browsers), and decides as the Go package
 * github.com/cong1022/fieldsync/proof/receipt does: docs/proofs.md has the formats, proof/testdata the vectors that both pass.
 */

/** Why something does not verify. The codes are those of docs/protocol.md. */
export type ProofCode =
  | "key_file_invalid"
  | "receipt_malformed"
  | "receipt_unproven"
  | "claim_unproven"
  | "checkpoint_malformed"
  | "checkpoint_unsigned"
  | "log_inconsistent";

/** What every function here throws, and nothing else, whatever it is given. */
export class ProofError extends Error {
  constructor(readonly code: ProofCode) {
    super(code);
  }
}

/** What a leaf says of a completion. */
export type Kind = "claimed" | "sealed" | "delivered" | "decided" | "reopened" | "unknown";

/** A log at a size. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** The hash of the whole tree, 32 bytes. */
  readonly root: Uint8Array;
  /** The names of the witnesses in the key file that have cosigned it. */
  readonly witnesses: readonly string[];
}

/** What a receipt proves. */
export interface Proven {
  readonly kind: Kind;
  /** A serialized fieldsync.v1.CompletionRecord, as it was signed: read it with the generated code. */
  readonly record: Uint8Array;
  readonly ticketId: string;
  readonly hotlineId: string;
  /** SHA-256 of each photo's original, in the order of the record. */
  readonly photos: readonly Uint8Array[];
  /** The leaf's hash in the log, 32 bytes: what a correction names. */
  readonly leaf: Uint8Array;
  /** The hash of the leaf that this one takes back or replaces, 32 bytes; empty where it corrects nothing. */
  readonly corrects: Uint8Array;
  /** The leaf's place in the log, from 0. */
  readonly index: number;
  readonly checkpoint: Checkpoint;
  /** The device signed what the record says. False where it signed nothing. */
  readonly signedByDevice: boolean;
}

interface Key {
  readonly name: string;
  readonly hash: number;
  readonly witness: boolean;
  readonly key: CryptoKey;
}

/** Whom a verifier trusts: parseKeys makes it. */
export type Keys = readonly Key[];

const maxBytes = 4 << 20;
const hashBytes = 32;
const kinds: readonly Kind[] = ["unknown", "claimed", "sealed", "delivered", "decided", "reopened"];

const encoder = new TextEncoder();
const encode = (text: string): Uint8Array => encoder.encode(text);

/** The text, or undefined where the bytes are no UTF-8. Nothing is dropped: encoding it again gives the same bytes. */
function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The bytes of base64, spare bits or not; undefined where it is none. */
function fromLooseBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) return undefined;
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** The bytes of base64 in its one form, else undefined. */
function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = fromLooseBase64(text);
  if (bytes === undefined || text === "") return bytes;
  const last = bytes.subarray(bytes.length - (bytes.length % 3 || 3)); // Spare bits are in the last four characters only.
  return btoa(String.fromCharCode(...last)) === text.slice(-4) ? bytes : undefined;
}

/** The number that is written so and not otherwise, else undefined. */
function fromDecimal(text: string): number | undefined {
  const n = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(n) ? n : undefined;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

async function sha256(...parts: readonly Uint8Array[]): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

const leafHash = (leaf: Uint8Array): Promise<Uint8Array> => sha256(Uint8Array.of(0), leaf);
const nodeHash = (left: Uint8Array, right: Uint8Array): Promise<Uint8Array> => sha256(Uint8Array.of(1), left, right);

/** Reads a file of verifier keys: the log's (Ed25519) and witnesses' (Ed25519 cosignatures), one a line, # begins a comment. */
export async function parseKeys(text: string): Promise<Keys> {
  const keys: Key[] = [];
  for (const untrimmed of text.split("\n")) {
    const line = untrimmed.trim();
    if (line === "" || line.startsWith("#")) continue;
    const [, name = "", hex = "", key64 = ""] = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(line) ?? [];
    const material = fromBase64(key64);
    if (material?.length !== 1 + 32 || (material[0] !== 1 && material[0] !== 4)) throw new ProofError("key_file_invalid");
    const hash = new DataView((await sha256(encode(`${name}\n`), material)).buffer).getUint32(0);
    if (hash !== parseInt(hex, 16)) throw new ProofError("key_file_invalid");
    if (keys.some((known) => known.name === name && known.hash === hash)) continue;
    const key = await crypto.subtle.importKey("raw", material.slice(1), "Ed25519", false, ["verify"]);
    keys.push({ name, hash, witness: material[0] === 4, key });
  }
  if (!keys.some((key) => !key.witness)) throw new ProofError("key_file_invalid");
  return keys;
}

/** Reads a signed checkpoint and checks that its log signed it. */
export async function openCheckpoint(bytes: Uint8Array, keys: Keys): Promise<Checkpoint> {
  const malformed = new ProofError("checkpoint_malformed");
  const text = decode(bytes);
  // eslint-disable-next-line no-control-regex -- Just these are forbidden.
  if (text === undefined || bytes.length > maxBytes || /[\x00-\x09\x0b-\x1f]/.test(text)) throw malformed;
  const split = text.lastIndexOf("\n\n");
  if (split < 0 || !text.endsWith("\n") || split + 2 === text.length) throw malformed;
  const body = text.slice(0, split + 1);
  const signatures = text.slice(split + 2, -1).split("\n");
  if (signatures.length > 100) throw malformed;

  const seen = new Set<string>();
  const good: Key[] = [];
  let oneWay = true; // The one way to write it: said only of what is signed.
  for (const line of signatures) {
    const [, name = "", signature64 = ""] = /^— ([^\s+]+) (\S+)$/u.exec(line) ?? [];
    const raw = fromLooseBase64(signature64);
    if (raw === undefined || raw.length < 5) throw malformed;
    oneWay &&= fromBase64(signature64) !== undefined;
    const hash = new DataView(raw.buffer).getUint32(0);
    const key = keys.find((known) => known.name === name && known.hash === hash);
    const id = key === undefined ? line : `${name}+${hash}`;
    oneWay &&= !seen.has(id);
    if (seen.has(id)) continue;
    seen.add(id);
    if (key === undefined) continue;
    if (!(await signed(key, raw.slice(4), body))) throw new ProofError("checkpoint_unsigned");
    good.push(key);
  }

  if (good.length === 0) throw new ProofError("checkpoint_unsigned");
  const [origin = "", size10 = "", root64 = "", ...rest] = body.split("\n");
  const size = fromDecimal(size10);
  const root = fromBase64(root64);
  if (origin === "" || size === undefined || root?.length !== hashBytes || rest.length !== 1 || !oneWay) throw malformed;
  if (!good.some((key) => !key.witness && key.name === origin)) throw new ProofError("checkpoint_unsigned");
  return { origin, size, root, witnesses: good.filter((key) => key.witness).map((key) => key.name) };
}

async function signed(key: Key, signature: Uint8Array<ArrayBuffer>, body: string): Promise<boolean> {
  if (!key.witness) return crypto.subtle.verify("Ed25519", key.key, signature, concat(encode(body)));
  if (signature.length !== 8 + 64) return false;
  const time = new DataView(signature.buffer).getBigUint64(0);
  return crypto.subtle.verify("Ed25519", key.key, signature.slice(8), concat(encode(`cosignature/v1\ntime ${time}\n${body}`)));
}

/** Checks a receipt: its log signed the checkpoint, and the record's leaf stands in that checkpoint's tree. */
export async function verify(receipt: Uint8Array, keys: Keys): Promise<Proven> {
  const malformed = new ProofError("receipt_malformed");
  const end = receipt.findIndex((byte, i) => byte === 0x0a && receipt[i + 1] === 0x0a);
  const head = decode(receipt.subarray(0, Math.max(end, 0)));
  if (receipt.length > maxBytes || end < 0 || head === undefined) throw malformed;
  const [version, extraLine = "", indexLine = "", ...pathLines] = head.split("\n");
  const extra = extraLine.startsWith("extra ") ? fromBase64(extraLine.slice(6)) : undefined;
  const index = indexLine.startsWith("index ") ? fromDecimal(indexLine.slice(6)) : undefined;
  const path = pathLines.map(fromBase64).filter((hash) => hash?.length === hashBytes) as Uint8Array[];
  if (
    version !== "c2sp.org/tlog-proof@v1" || extra === undefined || extra.length < 1 + hashBytes || index === undefined ||
    path.length !== pathLines.length || path.length > 64
  ) {
    throw malformed;
  }

  const checkpoint = await openCheckpoint(receipt.subarray(end + 2), keys);
  const record = extra.slice(1 + hashBytes);
  const facts = readRecord(record);
  if (facts === undefined) throw new ProofError("receipt_unproven");
  const leaf = concat(
    encode("fieldsync/leaf/v1\n"),
    extra.subarray(0, 1),
    await sha256(record),
    await sha256(...facts.photos),
    extra.subarray(1, 1 + hashBytes),
    await sha256(facts.ticketId, encode("\n"), facts.hotlineId),
  );
  const hash = await leafHash(leaf);
  if (!(await included(path, index, hash, checkpoint))) throw new ProofError("receipt_unproven");
  const signedByDevice = await checkClaim(record);
  return {
    kind: kinds[extra[0] ?? 0] ?? "unknown", record, photos: facts.photos, leaf: hash, index, checkpoint, signedByDevice,
    corrects: bytesOf(readFields(bytesOf(readFields(record), 22)), 2),
    ticketId: decode(facts.ticketId) ?? "", hotlineId: decode(facts.hotlineId) ?? "",
  };
}

/** SubjectPublicKeyInfo of a P-256 key, up to its point. */
const p256Prefix = Uint8Array.from("3059301306072a8648ce3d020106082a8648ce3d030107034200".match(/../g) ?? [], (byte) => parseInt(byte, 16));

/** Checks what the device signed, if it did, and that the record says the same: true. False where it signed nothing. */
async function checkClaim(recordBytes: Uint8Array): Promise<boolean> {
  const record = readFields(recordBytes);
  const [claimBytes, signature, spki] = [bytesOf(record, 18), bytesOf(record, 19), bytesOf(record, 20)];
  if (claimBytes.length + signature.length + spki.length === 0) return false;
  const claim = readFields(claimBytes);
  const [recorded, completed] = [readFields(bytesOf(claim, 6)), readFields(bytesOf(record, 11))];
  const note = bytesOf(record, 9);
  const fits =
    signature.length === 64 && spki.length === p256Prefix.length + 65 && same(spki.subarray(0, p256Prefix.length), p256Prefix) &&
    same(bytesOf(claim, 1), bytesOf(record, 7)) && // The device,
    same(bytesOf(claim, 2), bytesOf(record, 6)) && // the member,
    same(bytesOf(claim, 3), bytesOf(record, 2)) && // the task,
    numberOf(claim, 4) === numberOf(record, 8) && // the outcome,
    same(bytesOf(claim, 5), note.length === 0 ? note : await sha256(note)) && // the note,
    recorded.has(1) === completed.has(3) && // when, in whole seconds,
    numberOf(readFields(bytesOf(recorded, 1)), 1) === numberOf(readFields(bytesOf(completed, 3)), 1) &&
    claim.has(7) === record.has(12) && // and where.
    samePlace(readFields(bytesOf(claim, 7)), readFields(bytesOf(record, 12)));
  if (!fits || !(await signedBy(spki, signature, concat(encode("fieldsync/claim/v1\n"), claimBytes)))) throw new ProofError("claim_unproven");
  return true;
}

async function signedBy(spki: Uint8Array, signature: Uint8Array, message: Uint8Array<ArrayBuffer>): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey("spki", concat(spki), { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, concat(signature), message);
  } catch {
    return false; // The point is not on the curve.
  }
}

/** Latitude, longitude, accuracy, whether it was mocked, and when it was fixed. */
function samePlace(a: Fields, b: Fields): boolean {
  const [fixedA, fixedB] = [readFields(bytesOf(a, 4)), readFields(bytesOf(b, 4))];
  return (
    [1, 2, 3].every((field) => sameNumber(bytesOf(a, field), bytesOf(b, field))) && numberOf(a, 5) === numberOf(b, 5) &&
    a.has(4) === b.has(4) && [1, 2].every((field) => numberOf(fixedA, field) === numberOf(fixedB, field))
  );
}

/** Absent is 0. */
const sameNumber = (a: Uint8Array, b: Uint8Array): boolean => same(a, b) || (a.every((x) => x === 0) && b.every((x) => x === 0));

/** Tells whether the completion has a photo whose original has exactly these bytes. */
export async function hasPhoto(proven: Proven, original: Uint8Array): Promise<boolean> {
  const sum = await sha256(original);
  return proven.photos.some((photo) => same(photo, sum));
}

/** RFC 9162, section 2.1.3.2. */
async function included(path: readonly Uint8Array[], index: number, leaf: Uint8Array, tree: Checkpoint): Promise<boolean> {
  if (index >= tree.size) return false;
  let [fn, sn, hash] = [BigInt(index), BigInt(tree.size - 1), leaf];
  for (const step of path) {
    if (sn === 0n) return false;
    if (fn % 2n === 1n || fn === sn) {
      hash = await nodeHash(step, hash);
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n];
    } else {
      hash = await nodeHash(hash, step);
    }
    [fn, sn] = [fn / 2n, sn / 2n];
  }
  return sn === 0n && same(hash, tree.root);
}

/** Checks that the log of the earlier checkpoint is the beginning of the later one's (RFC 9162, section 2.1.4.2). */
export async function checkConsistency(earlier: Checkpoint, later: Checkpoint, proof: readonly Uint8Array[]): Promise<void> {
  if (earlier.origin !== later.origin || earlier.size > later.size || !(await consistent(earlier, later, proof))) {
    throw new ProofError("log_inconsistent");
  }
}

async function consistent(earlier: Checkpoint, later: Checkpoint, proof: readonly Uint8Array[]): Promise<boolean> {
  if (earlier.size === later.size) return same(earlier.root, later.root);
  if (earlier.size === 0) return true;
  const whole = BigInt(earlier.size) & (BigInt(earlier.size) - 1n);
  const [first, ...steps] = whole === 0n ? [earlier.root, ...proof] : proof;
  if (first === undefined) return false;
  let [fn, sn] = [BigInt(earlier.size - 1), BigInt(later.size - 1)];
  while (fn % 2n === 1n) [fn, sn] = [fn / 2n, sn / 2n];
  let [old, now] = [first, first];
  for (const step of steps) {
    if (sn === 0n) return false;
    if (fn % 2n === 1n || fn === sn) {
      [old, now] = [await nodeHash(step, old), await nodeHash(step, now)];
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n];
    } else {
      now = await nodeHash(now, step);
    }
    [fn, sn] = [fn / 2n, sn / 2n];
  }
  return sn === 0n && same(old, earlier.root) && same(now, later.root);
}

interface RecordFacts {
  ticketId: Uint8Array;
  hotlineId: Uint8Array;
  photos: Uint8Array[];
}

/** The fields of a CompletionRecord on which its leaf stands: ticket_id (3), hotline_id (4), photos (13) and their sha256 (2). */
function readRecord(record: Uint8Array): RecordFacts | undefined {
  const facts: RecordFacts = { ticketId: new Uint8Array(), hotlineId: new Uint8Array(), photos: [] };
  const read = eachField(record, (field, value) => {
    if (field === 3) facts.ticketId = value;
    if (field === 4) facts.hotlineId = value;
    if (field !== 13) return true;
    let photo = new Uint8Array();
    const good = eachField(value, (inner, hash) => {
      if (inner === 2) photo = hash.slice();
      return true;
    });
    facts.photos.push(photo);
    return good;
  });
  return read ? facts : undefined;
}

/** The fields of a protobuf message: numbers, and bytes of whatever has a length. Of a field that comes twice the last counts. */
type Fields = ReadonlyMap<number, bigint | Uint8Array>;

function readFields(bytes: Uint8Array): Fields {
  const fields = new Map<number, bigint | Uint8Array>();
  return eachField(bytes, (field, value) => {
    fields.set(field, value);
    return true;
  }, (field, value) => fields.set(field, value)) ? fields : new Map();
}

function bytesOf(fields: Fields, field: number): Uint8Array {
  const value = fields.get(field);
  return value instanceof Uint8Array ? value : new Uint8Array();
}

function numberOf(fields: Fields, field: number): bigint {
  const value = fields.get(field);
  return typeof value === "bigint" ? value : 0n;
}

/**
 * Calls f for each field of a protobuf message that has a length, and number for each other one: with its bytes where it has a fixed
 * size. False where the bytes are no message or f says so.
 */
function eachField(
  bytes: Uint8Array, f: (field: number, value: Uint8Array) => boolean, number?: (field: number, value: bigint | Uint8Array) => void,
): boolean {
  let at = 0;
  const varint = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) return undefined;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag === undefined) return false;
    let length = { 1: 8, 5: 4 }[Number(tag % 8n)];
    if (tag % 8n === 0n) {
      const value = varint();
      if (value === undefined) return false;
      number?.(Number(tag / 8n), value);
      continue;
    }
    if (tag % 8n === 2n) length = Number(varint() ?? -1n);
    if (length === undefined || length < 0 || length > bytes.length - at) return false;
    const value = bytes.subarray(at, at + length);
    at += length;
    if (tag % 8n !== 2n) number?.(Number(tag / 8n), value);
    else if (!f(Number(tag / 8n), value)) return false;
  }
  return true;
}
