import { useQuery } from "@tanstack/react-query";
import { send, type Found } from "../api";
import { useEffect } from "react";
import { navigate, usePlace } from "../router";
import { Empty, Loaded, Page, Panel } from "../ui";
import { AllocationTable } from "./allocations";
import { CallTable } from "./calls";

/** Text of the last search. A whole number is kept here only, and not in the address. */
let typed = "";
export function setSearch(text: string): void {
  typed = text;
}

/** Returns the page of a result that is the only one. */
function onlyPage(found: Found): string | null {
  const [call, allocation] = [found.calls[0], found.allocations[0]];
  if (found.kind === "allocation" && allocation) return `/allocations/${allocation.greenpin_id}`;
  if (found.calls.length + found.allocations.length + found.events.length !== 1 || !found.complete) return null;
  if (call) return `/calls/${call.call_sid}`;
  return allocation ? `/allocations/${allocation.greenpin_id}` : null;
}

export function SearchPage() {
  const { query } = usePlace();
  const inAddress = query.get("q") ?? "";
  const text = typed.endsWith(inAddress) && inAddress ? typed : inAddress;
  const shown = text.length > 4 && /^\+?\d+$/.test(text) ? `…${text.slice(-2)}` : text;
  const found = useQuery({ queryKey: ["search", text], queryFn: () => send<Found>("POST", "/console/search", { q: text }), enabled: text !== "" });
  const only = found.data ? onlyPage(found.data) : null;
  useEffect(() => {
    if (only) navigate(only, true);
  }, [only]);
  return (
    <Page title={`Search: ${shown}`}>
      <Loaded query={found}>
        {(found) => (
          <>
            {!found.complete && <p className="note">There may be older results: a search by last digits reads the newest 5,000 calls and allocations, and shows 20 of each.</p>}
            {found.calls.length > 0 && (
              <Panel title="Calls">
                <CallTable calls={found.calls} />
              </Panel>
            )}
            {found.allocations.length > 0 && (
              <Panel title="Allocations">
                <AllocationTable allocations={found.allocations} />
              </Panel>
            )}
            {found.events.map((event) => (
              <Panel key={event.event_id} title={event.type}>
                <pre tabIndex={0}>{JSON.stringify(event, null, 2)}</pre>
              </Panel>
            ))}
            {found.calls.length + found.allocations.length + found.events.length === 0 && <Empty title="Nothing found.">Search by an id, a number with its country code, its last 3 or more digits, or the SIP Call-ID of a leg.</Empty>}
          </>
        )}
      </Loaded>
    </Page>
  );
}
