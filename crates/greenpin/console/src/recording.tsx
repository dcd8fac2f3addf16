// Player of a recording, with its waveform: the caller above, the callee below.

import { useEffect, useRef, useState } from "react";
import { Failure, Panel } from "./ui";

const BARS = 600;

/** Returns the peak of each part of a channel, from 0 to 1. */
function peaks(samples: Float32Array): number[] {
  const size = Math.max(1, Math.floor(samples.length / BARS));
  return Array.from({ length: Math.min(BARS, samples.length) }, (_, bar) => {
    let peak = 0;
    for (let index = bar * size; index < (bar + 1) * size; index += 1) peak = Math.max(peak, Math.abs(samples[index] ?? 0));
    return peak;
  });
}

interface Audio {
  url: string;
  channels: number[][];
}

async function load(path: string): Promise<Audio> {
  const response = await fetch(path, { credentials: "same-origin" });
  if (!response.ok) throw new Error(`The recording cannot be read (${response.status}).`);
  const blob = await response.blob();
  const context = new OfflineAudioContext(1, 1, 8000);
  const decoded = await context.decodeAudioData(await blob.arrayBuffer());
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, channel) => peaks(decoded.getChannelData(channel)));
  return { url: URL.createObjectURL(blob), channels };
}

/** Returns the outline of a channel around its middle line. */
function outline(channel: number[], middle: number, height: number): string {
  const point = (peak: number, bar: number, sign: number) => `${bar} ${(middle + sign * Math.max(0.5, peak * height)).toFixed(1)}`;
  const upper = channel.map((peak, bar) => point(peak, bar, -1));
  const lower = channel.map((peak, bar) => point(peak, bar, 1)).reverse();
  return `M${upper.join("L")}L${lower.join("L")}Z`;
}

export function Recording({ path }: { path: string }) {
  const [audio, setAudio] = useState<Audio | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [position, setPosition] = useState(0);
  const player = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    let url = "";
    let gone = false;
    load(path).then(
      (audio) => {
        url = audio.url;
        if (gone) URL.revokeObjectURL(url);
        else setAudio(audio);
      },
      (error) => setError(error),
    );
    return () => {
      gone = true;
      if (url) URL.revokeObjectURL(url);
    };
  }, [path]);
  const seek = (share: number) => {
    if (player.current && Number.isFinite(player.current.duration)) player.current.currentTime = share * player.current.duration;
  };
  // The louder side fills its half.
  const loudest = Math.max(0.02, ...(audio?.channels.flat() ?? []));
  const half = audio && audio.channels.length > 1 ? 30 : 60;
  return (
    <Panel
      title="Recording"
      actions={
        <a className="button" href={path} download>
          Download
        </a>
      }
    >
      {error !== null && <Failure error={error} />}
      {audio && (
        <>
          <svg
            className="waveform"
            viewBox={`0 0 ${BARS} 120`}
            preserveAspectRatio="none"
            role="img"
            aria-label="Waveform: the caller above, the callee below"
            onClick={(event) => {
              const box = event.currentTarget.getBoundingClientRect();
              seek((event.clientX - box.left) / box.width);
            }}
          >
            {audio.channels.map((channel, index) => (
              <path key={index} d={outline(channel, half + index * 60, (half - 3) / loudest)} className={`channel-${index}`} />
            ))}
            <line x1={position * BARS} x2={position * BARS} y1="0" y2="120" />
          </svg>
          <audio
            ref={player}
            controls
            src={audio.url}
            aria-label="Recording"
            onTimeUpdate={(event) => setPosition(event.currentTarget.currentTime / (event.currentTarget.duration || 1))}
          />
        </>
      )}
      {!audio && error === null && <p className="loading">Loading…</p>}
    </Panel>
  );
}
