import { StrictMode, useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { ApiError, get, setOnSignedOut, type Session } from "./api";
import { Router } from "./router";
import { Shell } from "./shell";
import { SignIn } from "./pages/sign-in";
import { Failure, Loading, SessionContext } from "./ui";
import "./style.css";

function newClient(): QueryClient {
  const isFinal = (error: unknown) => error instanceof ApiError && error.status < 500;
  return new QueryClient({
    defaultOptions: { queries: { staleTime: 2_000, retry: (count, error) => count < 2 && !isFinal(error), refetchOnWindowFocus: true } },
  });
}

function App() {
  const [session, setSession] = useState<Session | null | undefined>(undefined);
  const [failure, setFailure] = useState<unknown>(null);
  // A new session starts with an empty cache.
  const client = useMemo(newClient, [session?.tenant_id, session?.kind]);
  useEffect(() => {
    setOnSignedOut(() => setSession(null));
    get<Session>("/console/session").then(setSession, (error) => {
      if (error instanceof ApiError && error.status === 401) setSession(null);
      else setFailure(error);
    });
  }, []);
  if (failure !== null) return <Failure error={failure} />;
  if (session === undefined) return <Loading />;
  if (session === null) return <SignIn onSignedIn={setSession} />;
  return (
    <QueryClientProvider client={client}>
      <SessionContext.Provider value={session}>
        <Router>
          <Shell onSignedOut={() => setSession(null)} />
        </Router>
      </SessionContext.Provider>
    </QueryClientProvider>
  );
}

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
