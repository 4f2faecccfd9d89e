-- How many units of a product a sale, or an ordinary buyer, may have now.
-- A share that is armed comes off the pool: ordinary buyers and whole-pool sales leave the open and coming shares
-- alone, shares only those that open before them. An armed sale of the whole pool leaves ordinary buyers nothing.

CREATE OR REPLACE FUNCTION claimed_by_others(
    of_product text, for_sale text, for_allocated integer, for_open_at timestamptz, moment timestamptz
) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN for_sale IS NULL AND bool_or(other.allocated IS NULL) THEN 4294967296
        ELSE coalesce(sum(greatest(other.allocated - other.reserved_qty - other.sold_qty, 0)), 0)
    END
    FROM sale_item other
    WHERE other.product_id = of_product
      AND other.state <> 'Cancelled'
      AND other.close_at > moment
      AND other.sale_uid IS DISTINCT FROM for_sale
      AND (for_sale IS NULL
           OR (other.allocated IS NOT NULL
               AND (for_allocated IS NULL OR other.open_at < for_open_at)))
$$;

-- sellable: units that can be reserved now. potential: sellable plus what holds and payments may bring back;
-- below it a refusal is final.
CREATE OR REPLACE VIEW sale_stock AS
SELECT item.*, pool.epoch, pool.loaded_run_id,
       greatest(0, least(coalesce(item.allocated - item.reserved_qty - item.sold_qty, 2147483647),
                         pool.available_qty - pool.safety_stock - claims.claimed)) AS sellable,
       greatest(0, least(coalesce(item.allocated - item.sold_qty, 2147483647),
                         pool.available_qty + pool.reserved_qty - pool.safety_stock - claims.claimed))
           AS potential
FROM sale_item item
JOIN inventory pool USING (product_id)
CROSS JOIN LATERAL (
    SELECT claimed_by_others(item.product_id, item.sale_uid, item.allocated, item.open_at,
                             clock_timestamp()) AS claimed
) claims;

-- The sale whose gate Redis holds for a product: the first that is not over; a cancelled one only to keep it shut.
CREATE OR REPLACE FUNCTION gate_sale(of_product text, moment timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT item.sale_uid FROM sale_item item
    WHERE item.product_id = of_product AND item.close_at > moment
    ORDER BY item.state = 'Cancelled', item.open_at LIMIT 1
$$;

CREATE OR REPLACE FUNCTION this_revision() RETURNS bigint LANGUAGE sql AS $$
    SELECT pg_current_xact_id()::text::bigint
$$;

-- Notes when a sale sold its last unit, and forgets it after a restock. Inventory rows are locked by the caller,
-- or the reconciler puts right what two callers of different products could not see of each other. Only sales that
-- change are locked, in the order of their uids.
CREATE OR REPLACE FUNCTION note_sold_out(of_products text[]) RETURNS void LANGUAGE sql AS $$
    WITH touched AS (
        SELECT DISTINCT sale_uid FROM sale_item
        WHERE product_id = ANY (of_products) AND state <> 'Cancelled'
    ), judged AS (
        SELECT stock.sale_uid, bool_and(stock.potential = 0 AND stock.sold_qty > 0) AS is_out
        FROM sale_stock stock JOIN touched USING (sale_uid) GROUP BY stock.sale_uid
    ), turned AS (
        SELECT sale.sale_uid, judged.is_out
        FROM sale JOIN judged USING (sale_uid)
        WHERE judged.is_out <> (sale.sold_out_at IS NOT NULL)
          AND (sale.close_at > clock_timestamp() OR judged.is_out)
        ORDER BY sale.sale_uid FOR UPDATE OF sale
    )
    UPDATE sale SET sold_out_at = CASE WHEN turned.is_out THEN clock_timestamp() END,
                    revision = this_revision()
    FROM turned WHERE turned.sale_uid = sale.sale_uid
$$;

-- What Redis should hold of products: the gate of their current sale, its units and what is on its way back.
CREATE OR REPLACE FUNCTION gate_facts(of_products text[], run_id text)
RETURNS TABLE (product_of text, epoch_now bigint, is_same_run boolean, gate_sale_uid text, opens_at timestamptz,
               closes_at timestamptz, gate_state text, gate_strategy text, user_limit integer,
               sellable_qty bigint, returning_qty bigint) LANGUAGE sql AS $$
    SELECT stock.product_id, stock.epoch, stock.loaded_run_id IS NOT DISTINCT FROM run_id, stock.sale_uid,
           stock.open_at, stock.close_at, stock.state, stock.strategy, stock.per_user_limit, stock.sellable,
           (SELECT coalesce(sum(back.qty), 0) FROM permit_return back
            WHERE back.product_id = stock.product_id AND back.epoch = stock.epoch)
    FROM sale_stock stock
    WHERE stock.product_id = ANY (of_products)
      AND stock.sale_uid = gate_sale(stock.product_id, clock_timestamp())
$$;

-- Starts a new epoch unless somebody else did since the caller looked; answers its gate_facts, or nothing.
CREATE OR REPLACE FUNCTION bump_epoch(of_product text, seen_epoch bigint, above_epoch bigint, run_id text)
RETURNS TABLE (product_of text, epoch_now bigint, is_same_run boolean, gate_sale_uid text, opens_at timestamptz,
               closes_at timestamptz, gate_state text, gate_strategy text, user_limit integer,
               sellable_qty bigint, returning_qty bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inventory
    SET epoch = greatest(epoch, above_epoch) + 1, loaded_run_id = run_id, version = version + 1,
        revision = this_revision(), updated_at = clock_timestamp()
    WHERE product_id = of_product AND epoch = seen_epoch;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM gate_facts(ARRAY[of_product], run_id);
    END IF;
END
$$;
