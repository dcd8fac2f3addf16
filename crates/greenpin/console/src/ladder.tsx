// The SIP messages of all legs as a ladder.

import { useState } from "react";
import type { Trace, TraceEntry } from "./api";
import { offset } from "./format";
import { asText, savePng, type Lane, type Row } from "./ladder-export";
import { CopyButton } from "./ui";

const ROW = 30;
const TOP = 42;
const TIME = 80;
const LANE = 190;

/** Returns the label of an arrow: the method, or the status with its reason. */
function label(entry: TraceEntry): string {
  const text = entry.text.replace(/\s+sip[s]?:\S+.*$/, "");
  return text.length > 26 ? `${text.slice(0, 25)}…` : text;
}

export function Ladder({ trace }: { trace: Trace }) {
  const [selected, setSelected] = useState<number | null>(null);
  const [whole, setWhole] = useState(false);
  const [only, setOnly] = useState("");
  const [folded, setFolded] = useState(true);
  const caller = trace.legs.find((leg) => leg.leg === "caller");
  const callees = trace.legs.filter((leg) => leg.leg !== "caller");
  const lanes: Lane[] = [
    { name: "caller", detail: caller?.peer ?? caller?.number ?? "" },
    { name: "greenpin", detail: caller?.local ?? "" },
    ...callees.map((leg) => ({ name: leg.leg, detail: [leg.trunk, leg.number].filter(Boolean).join(" · ") })),
  ];
  const isShown = (entry: TraceEntry) =>
    (entry.kind === "sip" || (whole && (entry.kind === "decision" || entry.kind === "digit"))) && (!only || entry.leg === only) && !(folded && entry.retransmission);
  const messages = trace.entries.filter(isShown);
  const hasCopies = trace.entries.some((entry) => entry.retransmission);
  const x = (lane: number) => TIME + LANE / 2 + lane * LANE;
  const laneOf = (entry: TraceEntry) => (entry.leg === "caller" || entry.leg === null ? 0 : Math.max(2, 2 + callees.findIndex((leg) => leg.leg === entry.leg)));
  const width = TIME + lanes.length * LANE;
  const height = messages.length * ROW + 12;
  const rows: Row[] = messages.map((entry) => {
    const ends = entry.kind !== "sip" ? [1, 1] : entry.direction === "in" ? [laneOf(entry), 1] : [1, laneOf(entry)];
    return { entry, from: ends[0] ?? 1, to: ends[1] ?? 1, label: label(entry) };
  });
  const title = `${trace.call_sid}, ${trace.start_time}`;
  const chosen = selected === null ? null : messages[selected];
  return (
    <>
      <div className="ladder-options">
        <label className="check">
          <input type="checkbox" checked={whole} onChange={(event) => (setWhole(event.target.checked), setSelected(null))} /> with digits and decisions
        </label>
        {hasCopies && (
          <label className="check">
            <input type="checkbox" checked={folded} onChange={(event) => (setFolded(event.target.checked), setSelected(null))} /> without retransmissions
          </label>
        )}
        {callees.length > 0 && (
          <select aria-label="Legs" value={only} onChange={(event) => (setOnly(event.target.value), setSelected(null))}>
            <option value="">all legs</option>
            {trace.legs.map((leg) => (
              <option key={leg.leg} value={leg.leg}>
                {leg.leg}
              </option>
            ))}
          </select>
        )}
        <CopyButton text={asText(title, lanes, rows)} label="Copy as text" />
        <button type="button" className="small" onClick={() => savePng(`${trace.call_sid}.png`, title, lanes, rows)}>
          PNG
        </button>
      </div>
      {trace.truncated && <p className="note">The trace reached its limit. Later SIP messages are missing.</p>}
      <div className="ladder" tabIndex={0} role="group" aria-label="SIP ladder">
        <svg width={width} height={TOP} viewBox={`0 0 ${width} ${TOP}`} className="heads" aria-hidden="true">
          {lanes.map((lane, index) => (
            <g key={lane.name}>
              <text x={x(index)} y={16} className="lane">
                {lane.name}
              </text>
              <text x={x(index)} y={31} className="lane-detail">
                {lane.detail}
              </text>
            </g>
          ))}
        </svg>
        <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="list" aria-label={`${messages.length} messages`}>
          <defs>
            <marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
              <path d="M0 0 8 4 0 8z" />
            </marker>
          </defs>
          {lanes.map((lane, index) => (
            <line key={lane.name} aria-hidden="true" x1={x(index)} x2={x(index)} y1={0} y2={height} className="life" />
          ))}
          {messages.map((entry, index) => {
            const y = index * ROW + ROW / 2;
            const outer = x(laneOf(entry));
            const inner = x(1);
            const isIn = entry.direction === "in";
            const [from, to] = isIn ? [outer, inner] : [inner, outer];
            const gap = from < to ? -1 : 1;
            const tone = entry.kind !== "sip" ? "note" : (entry.status ?? 0) >= 300 ? "rejected" : (entry.status ?? 0) >= 200 ? "final" : "";
            const choose = () => setSelected(index === selected ? null : index);
            return (
              <g key={index} role="listitem" className={`message ${tone} ${selected === index ? "selected" : ""} ${entry.retransmission ? "again" : ""}`}>
                <g
                  role="button"
                  tabIndex={0}
                  aria-expanded={selected === index}
                  onClick={choose}
                  onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), choose())}
                >
                  <rect x={0} y={y - ROW / 2} width={width} height={ROW} className="hit" />
                  <text x={TIME - 10} y={y + 4} className="time">
                    {offset(entry.offset_ms)}
                  </text>
                  {entry.kind === "sip" ? (
                    <>
                      <line x1={from} x2={to + gap * 2} y1={y + 6} y2={y + 6} markerEnd="url(#arrow)" />
                      <text x={(from + to) / 2} y={y + 1} className="label">
                        {label(entry)}
                      </text>
                    </>
                  ) : (
                    <text x={inner} y={y + 4} className="label">
                      {label(entry)}
                    </text>
                  )}
                </g>
              </g>
            );
          })}
        </svg>
      </div>
      {chosen && (
        <div className="sip-message" role="region" aria-label="Message">
          <p className="quiet">
            {chosen.source} → {chosen.destination} {chosen.retransmission && "(retransmission)"}
          </p>
          <pre tabIndex={0}>{chosen.message ?? chosen.text}</pre>
        </div>
      )}
    </>
  );
}
