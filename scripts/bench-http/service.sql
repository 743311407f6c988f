-- The record of the service in FastAPI.
CREATE TABLE decisions (
  transaction_id text PRIMARY KEY,
  lsn bigint GENERATED ALWAYS AS IDENTITY,
  payer text NOT NULL,
  payee text NOT NULL,
  amount_centavos bigint NOT NULL,
  event_time_ns bigint NOT NULL,
  client text NOT NULL,
  verdict text NOT NULL,
  reason text NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT now()
);
