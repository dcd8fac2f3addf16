import { useQuery } from "@tanstack/react-query";
import { get, type PoolNumber } from "../api";
import { Link } from "../router";
import { Curl, Empty, Loaded, Page, Table, useTenantPath } from "../ui";

export function Numbers() {
  const path = `${useTenantPath()}/numbers`;
  const numbers = useQuery({ queryKey: ["numbers"], queryFn: () => get<PoolNumber[]>(path) });
  const odds = (share: number) => (share === 0 ? "0" : share < 0.0001 ? "< 0.01 %" : `${(100 * share).toFixed(2)} %`);
  return (
    <Page title="Numbers">
      <Loaded query={numbers}>
        {(numbers) =>
          numbers.length === 0 ? (
            <Empty title="The pool has no numbers." command="greenpin number add --tenant TENANT +VIRTUAL_NUMBER" />
          ) : (
            <Table
              label="Numbers"
              rows={numbers}
              rowKey={(number) => number.virtual_number}
              columns={[
                { name: "Virtual number", cell: (number) => number.virtual_number },
                { name: "Mode", cell: (number) => number.mode },
                { name: "PIN digits", numeric: true, cell: (number) => number.pin_length },
                {
                  name: "Active allocations",
                  numeric: true,
                  cell: (number) => <Link to={`/allocations?status=active&virtual_number=${encodeURIComponent(number.virtual_number)}`}>{`${number.active_allocations} of ${number.max_active}`}</Link>,
                },
                { name: "Use", cell: (number) => <meter min={0} max={number.max_active} high={0.9 * number.max_active} value={number.active_allocations} aria-label={`Use of ${number.virtual_number}`} /> },
                { name: "One guess opens", numeric: true, cell: (number) => odds(number.guess_probability) },
                { name: "Guessed in a year of attack", numeric: true, cell: (number) => odds(number.guess_odds_per_year) },
                { name: "Calls", cell: (number) => <Link to={`/calls?virtual_number=${encodeURIComponent(number.virtual_number)}`}>calls</Link> },
              ]}
            />
          )
        }
      </Loaded>
      <Curl method="GET" path={path} />
    </Page>
  );
}
