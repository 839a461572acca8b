import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { checkConsistency, hasPhoto, openCheckpoint, parseKeys, ProofError, verify } from "./receipt.js";
import type { Checkpoint } from "./receipt.js";

const vector = (name: string): Uint8Array => new Uint8Array(readFileSync(`../testdata/${name}`));
const text = (name: string): string => readFileSync(`../testdata/${name}`, "utf8");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const keys = await parseKeys(text("log.pub"));

/** What verify comes to, as testdata/verdicts.txt writes it. */
async function letter(receipt: Uint8Array): Promise<string> {
  try {
    await verify(receipt, keys);
    return "=";
  } catch (e) {
    assert(e instanceof ProofError, String(e));
    return { receipt_malformed: "R", receipt_unproven: "U", checkpoint_malformed: "C", checkpoint_unsigned: "S", claim_unproven: "D" }[e.code as string] ?? "?";
  }
}

// Protects: what the receipts say is what the Go package says, and so is the verdict on each changed bit.
test("vectors", async () => {
  for (const line of text("verdicts.txt").split("\n").filter((l) => l !== "")) {
    const [name = "", said = "", verdicts = ""] = line.split("\t");
    const receipt = vector(name);
    if (name.startsWith("forged-")) {
      await assert.rejects(verify(receipt, keys), (e) => e instanceof ProofError && e.code === said, name);
      continue;
    }
    const p = await verify(receipt, keys);
    const saying = [
      p.kind, p.index, p.checkpoint.size, p.checkpoint.origin, hex(p.checkpoint.root), p.ticketId, p.hotlineId, p.photos.map(hex).join(","),
      p.signedByDevice, hex(p.leaf), hex(p.corrects),
    ];
    assert.equal(saying.join(" "), said, name);
    let got = "";
    for (let i = 0; i < receipt.length; i++) {
      const changed = receipt.slice();
      changed[i] = (changed[i] ?? 0) ^ (1 << i % 8);
      got += await letter(changed);
    }
    assert.equal(got, verdicts, name);
  }
});

// Protects: each bit counts, whichever it is.
test("every bit", async () => {
  for (const name of ["sealed-0.tlog-proof"]) {
    const receipt = vector(name);
    for (let i = 0; i < receipt.length; i++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = receipt.slice();
        changed[i] = (changed[i] ?? 0) ^ (1 << bit);
        assert.notEqual(await letter(changed), "=", `${name}: bit ${bit} of byte ${i}`);
      }
      assert.notEqual(await letter(receipt.slice(0, i)), "=", `${name}: cut at ${i}`);
    }
  }
});

const code = (c: string) => (e: unknown): boolean => e instanceof ProofError && e.code === c;

// Protects: a log that was rewritten is found, and one that only grew is not.
test("consistency", async () => {
  const earlier = await openCheckpoint(vector("earlier.checkpoint"), keys);
  const later = await openCheckpoint(vector("later.checkpoint"), keys);
  const proof = text("earlier-later.consistency").trim().split("\n").map((l) => new Uint8Array(Buffer.from(l, "base64")));
  const none: Checkpoint = { ...earlier, size: 0 };
  const rewritten: Checkpoint = { ...earlier, root: earlier.root.map((byte) => byte ^ 1) };
  await checkConsistency(earlier, later, proof);
  await checkConsistency(later, later, []);
  await checkConsistency(none, later, []);
  for (const [a, b, p] of [
    [rewritten, later, proof], [earlier, rewritten, []], [later, earlier, proof], [earlier, later, []],
    [earlier, later, proof.slice(1)], [{ ...earlier, origin: "another" }, later, proof],
  ] as const) {
    await assert.rejects(checkConsistency(a, b, p), code("log_inconsistent"));
  }
});

// Protects the trust: the log must sign, witnesses are told of, and nobody else counts.
test("keys", async () => {
  const both = await parseKeys(`# both\n${text("log.pub")}\n${text("witness.pub")}`);
  assert.deepEqual((await openCheckpoint(vector("cosigned.checkpoint"), both)).witnesses, ["witness.example/w1"]);
  assert.deepEqual((await openCheckpoint(vector("cosigned.checkpoint"), keys)).witnesses, []);
  await assert.rejects(openCheckpoint(vector("cosigned.checkpoint"), []), code("checkpoint_unsigned"));
  for (const bad of ["", "# nothing", text("witness.pub"), text("log.pub").replace("+b", "+c"), "x", "x+00000000+AAAA"]) {
    await assert.rejects(parseKeys(bad), code("key_file_invalid"), bad);
  }
});

// Protects the answer to "is this the photo".
test("photo", async () => {
  const proven = await verify(vector("sealed-0.tlog-proof"), keys);
  assert.equal(await hasPhoto(proven, new Uint8Array([1, 2, 3])), false);
});
