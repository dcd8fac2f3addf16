// Addresses of the console. The whole state of a list is in its address.

import { createContext, useCallback, useContext, useEffect, useState, type AnchorHTMLAttributes, type ReactNode } from "react";

const BASE = "/console";

interface Place {
  path: string;
  query: URLSearchParams;
}

const PlaceContext = createContext<Place>({ path: "/", query: new URLSearchParams() });

function current(): Place {
  const path = location.pathname.replace(/\/+$/, "").slice(BASE.length) || "/";
  return { path, query: new URLSearchParams(location.search) };
}

export function navigate(path: string, replace = false): void {
  const address = BASE + (path === "/" ? "" : path);
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

export function Router({ children }: { children: ReactNode }) {
  const [place, setPlace] = useState(current);
  useEffect(() => {
    const update = () => setPlace(current());
    addEventListener("popstate", update);
    return () => removeEventListener("popstate", update);
  }, []);
  return <PlaceContext.Provider value={place}>{children}</PlaceContext.Provider>;
}

export function usePlace(): Place {
  return useContext(PlaceContext);
}

/** Returns the query parameters, and a function that changes some of them. A change starts at the first page. */
export function useQueryState(): [(name: string) => string, (changes: Record<string, string>) => void] {
  const { path, query } = usePlace();
  const read = useCallback((name: string) => query.get(name) ?? "", [query]);
  const change = (changes: Record<string, string>) => {
    const next = new URLSearchParams(query);
    if (!("cursor" in changes)) next.delete("cursor");
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    const text = next.toString();
    navigate(text ? `${path}?${text}` : path);
  };
  return [read, change];
}

export function Link({ to, ...rest }: { to: string } & AnchorHTMLAttributes<HTMLAnchorElement>) {
  return (
    <a
      {...rest}
      href={BASE + (to === "/" ? "" : to)}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        navigate(to);
        scrollTo(0, 0);
      }}
    />
  );
}
