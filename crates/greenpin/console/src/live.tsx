// The event stream of the tenant: it refreshes the lists and feeds the overview.

import { createContext, useContext, useEffect, useState, type ReactNode } from "react";
import { useQueryClient } from "@tanstack/react-query";
import type { Event } from "./api";
import { useSession } from "./ui";

const MAX_EVENTS = 50;
/** Milliseconds in which several events cause one refresh. */
const REFRESH_INTERVAL = 700;

interface Live {
  events: Event[];
  state: "connecting" | "live" | "interrupted";
}

const LiveContext = createContext<Live>({ events: [], state: "connecting" });

export function useLive(): Live {
  return useContext(LiveContext);
}

export function LiveEvents({ children }: { children: ReactNode }) {
  const { tenant_id } = useSession();
  const client = useQueryClient();
  const [live, setLive] = useState<Live>({ events: [], state: "connecting" });
  useEffect(() => {
    const source = new EventSource(`/v1/tenants/${tenant_id}/stream`);
    let timer: ReturnType<typeof setTimeout> | undefined;
    source.onopen = () => setLive((live) => ({ ...live, state: "live" }));
    source.onerror = () => setLive((live) => ({ ...live, state: "interrupted" }));
    source.onmessage = (message) => {
      const event = JSON.parse(message.data) as Event;
      setLive((live) => ({ events: [event, ...live.events].slice(0, MAX_EVENTS), state: "live" }));
      timer ??= setTimeout(() => {
        timer = undefined;
        void client.invalidateQueries({ predicate: (query) => query.meta?.still !== true });
      }, REFRESH_INTERVAL);
    };
    return () => {
      clearTimeout(timer);
      source.close();
    };
  }, [tenant_id, client]);
  return <LiveContext.Provider value={live}>{children}</LiveContext.Provider>;
}
