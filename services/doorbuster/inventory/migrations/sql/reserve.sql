-- Reserves a batch of orders: each order gets all of its lines or nothing. One statement, one transaction: a paused
-- caller can hold no lock. Order ids are distinct within a call. The lines come as parallel arrays; line_order is the
-- index of the line's order from 1. A line without an epoch took no permit.
--
-- A hold of the same buyer that is over does not stand in his way until the reaper comes: it is released first.

CREATE OR REPLACE FUNCTION reserve_batch(
    order_ids text[], user_ids text[], hashes text[], topics text[], parents text[],
    line_orders integer[], line_products text[], line_qtys integer[], line_prices bigint[],
    line_currencies text[], line_sales text[], line_epochs bigint[], ordinary_hold_seconds integer
) RETURNS TABLE (
    at_order integer, outcome text, pay_by timestamptz, failed_product text,
    stored_state text, stored_epochs text
) LANGUAGE plpgsql AS $$
DECLARE
    names CONSTANT text[] := ARRAY['UNKNOWN_PRODUCT', 'CLOSED', 'SUSPENDED', 'NOT_OPEN', 'PRICE_CHANGED',
                                   'USER_LIMIT', 'SOLD_OUT', 'STALE_EPOCH', 'WAITING'];
    fits CONSTANT integer := 10;
    moment timestamptz;
    fact record;
    verdict integer;
    worst integer := fits;
    worst_product text;
    hold integer;
    from_pool bigint[] := array_fill(0::bigint, ARRAY[cardinality(line_orders)]);
    from_share bigint[] := from_pool;
    by_person bigint[] := from_pool;
    pools integer[] := '{}';
    shares integer[] := '{}';
    persons integer[] := '{}';
    units integer[] := '{}';
    verdicts integer[] := array_fill(fits, ARRAY[cardinality(order_ids)]);
    failures text[] := array_fill(NULL::text, ARRAY[cardinality(order_ids)]);
    winners integer[] := '{}';
    holds integer[] := '{}';
    held text[];
    overdue text[];
BEGIN
    PERFORM 1 FROM inventory WHERE product_id = ANY (line_products) ORDER BY product_id FOR UPDATE;
    overdue := ARRAY(
        SELECT r.order_id FROM reservation r
        WHERE r.state = 'HELD' AND r.expires_at <= clock_timestamp() AND r.user_id = ANY (user_ids)
          AND NOT EXISTS (SELECT 1 FROM reservation_line l
                          WHERE l.order_id = r.order_id AND l.product_id <> ALL (line_products))
        ORDER BY r.order_id FOR UPDATE SKIP LOCKED
    );
    IF cardinality(overdue) > 0 THEN
        PERFORM release_locked(overdue, 'expired');
    END IF;
    moment := clock_timestamp();
    -- A new statement, so a snapshot that sees all that the owners of the locks before us did.
    FOR fact IN
        WITH line AS (
            SELECT * FROM unnest(line_orders, line_products, line_qtys, line_prices, line_currencies,
                                 line_sales, line_epochs)
                AS l(at, product, qty, price, money, sale, epoch)
        ), stock AS MATERIALIZED (
            SELECT wanted.product AS stock_product, wanted.sale AS stock_sale, pool.epoch AS current_epoch,
                   item.sale_uid IS NOT NULL AS has_sale, item.state, item.open_at, item.close_at,
                   item.price_minor, item.currency, item.per_user_limit, item.hold_seconds,
                   pool.available_qty - pool.safety_stock - claims.claimed AS pool_room,
                   coalesce(item.allocated - item.reserved_qty - item.sold_qty, 2147483647) AS share_room,
                   CASE WHEN wanted.sale IS NULL
                       THEN pool.available_qty + pool.reserved_qty - pool.safety_stock
                       ELSE least(coalesce(item.allocated - item.sold_qty, 2147483647),
                                  pool.available_qty + pool.reserved_qty - pool.safety_stock - claims.claimed)
                   END AS potential,
                   wanted.sale IS NULL AND EXISTS (
                       SELECT 1 FROM sale_item open_one
                       WHERE open_one.product_id = wanted.product AND open_one.state <> 'Cancelled'
                         AND open_one.open_at <= moment AND open_one.close_at > moment
                   ) AS is_elsewhere
            FROM (SELECT DISTINCT product, sale FROM line) wanted
            JOIN inventory pool ON pool.product_id = wanted.product
            LEFT JOIN sale_item item ON item.sale_uid = wanted.sale AND item.product_id = wanted.product
            CROSS JOIN LATERAL (
                SELECT claimed_by_others(wanted.product, wanted.sale, item.allocated, item.open_at, moment)
                    AS claimed
            ) claims
        )
        SELECT line.*, stock.*, stock.stock_product IS NOT NULL AS has_stock,
               r.order_id IS NOT NULL AS is_known, coalesce(u.qty, 0) AS used,
               dense_rank() OVER (ORDER BY line.product) AS pool_at,
               dense_rank() OVER (ORDER BY line.product, line.sale) AS share_at,
               dense_rank() OVER (ORDER BY line.product, line.sale, user_ids[line.at]) AS person_at,
               lead(line.at) OVER (ORDER BY line.at, line.product) IS DISTINCT FROM line.at AS is_last
        FROM line
        LEFT JOIN stock ON stock.stock_product = line.product
                       AND stock.stock_sale IS NOT DISTINCT FROM line.sale
        LEFT JOIN reservation r ON r.order_id = order_ids[line.at]
        LEFT JOIN user_sale_qty u ON u.sale_uid = line.sale AND u.product_id = line.product
                                 AND u.user_id = user_ids[line.at]
        ORDER BY line.at, line.product
    LOOP
        verdict := CASE
            WHEN fact.is_known THEN fits
            WHEN NOT fact.has_stock OR (fact.sale IS NOT NULL AND NOT fact.has_sale) THEN 1
            WHEN fact.state = 'Cancelled' OR moment >= fact.close_at THEN 2
            WHEN fact.state = 'Suspended' THEN 3
            WHEN moment < fact.open_at THEN 4
            WHEN fact.is_elsewhere OR (fact.sale IS NOT NULL AND (
                (fact.price IS NOT NULL AND fact.price <> fact.price_minor)
                OR (fact.money IS NOT NULL AND fact.money <> fact.currency))) THEN 5
            WHEN fact.sale IS NOT NULL
                 AND fact.used + by_person[fact.person_at] + fact.qty > fact.per_user_limit THEN 6
            WHEN fact.potential < fact.qty THEN 7
            WHEN fact.epoch IS NOT NULL AND fact.epoch <> fact.current_epoch THEN 8
            WHEN from_pool[fact.pool_at] + fact.qty > fact.pool_room
                 OR from_share[fact.share_at] + fact.qty > fact.share_room THEN 9
            ELSE fits
        END;
        IF verdict < worst THEN
            worst := verdict;
            worst_product := fact.product;
        END IF;
        pools := pools || fact.pool_at::integer;
        shares := shares || fact.share_at::integer;
        persons := persons || fact.person_at::integer;
        units := units || fact.qty;
        hold := least(hold, coalesce(fact.hold_seconds, ordinary_hold_seconds));
        IF fact.is_last THEN
            IF worst < fits THEN
                verdicts[fact.at] := worst;
                failures[fact.at] := worst_product;
            ELSIF NOT fact.is_known THEN
                winners := winners || fact.at;
                holds := holds || hold;
                FOR i IN 1 .. cardinality(units) LOOP
                    from_pool[pools[i]] := from_pool[pools[i]] + units[i];
                    from_share[shares[i]] := from_share[shares[i]] + units[i];
                    by_person[persons[i]] := by_person[persons[i]] + units[i];
                END LOOP;
            END IF;
            worst := fits;
            worst_product := NULL;
            hold := NULL;
            pools := '{}';
            shares := '{}';
            persons := '{}';
            units := '{}';
        END IF;
    END LOOP;

    IF cardinality(winners) > 0 THEN
        -- The counters move by what was really inserted: a reaper may bury an id at this very moment.
        WITH won AS (
            SELECT w.at, w.hold_seconds FROM unnest(winners, holds) AS w(at, hold_seconds)
        ), fresh AS (
            INSERT INTO reservation AS r (order_id, user_id, request_hash, topic, state, expires_at,
                                          created_at, traceparent)
            SELECT order_ids[won.at], user_ids[won.at], hashes[won.at], topics[won.at], 'HELD',
                   moment + make_interval(secs => won.hold_seconds), moment, parents[won.at]
            FROM won ORDER BY order_ids[won.at]
            ON CONFLICT DO NOTHING RETURNING r.order_id, r.user_id
        ), line AS (
            INSERT INTO reservation_line AS l (order_id, product_id, sale_uid, qty, epoch)
            SELECT order_ids[n.at], n.product, n.sale, n.qty, n.epoch
            FROM unnest(line_orders, line_products, line_qtys, line_sales, line_epochs)
                AS n(at, product, qty, sale, epoch)
            JOIN fresh ON fresh.order_id = order_ids[n.at]
            RETURNING l.order_id, l.product_id, l.sale_uid, l.qty
        ), moved AS (
            UPDATE inventory i
            SET available_qty = i.available_qty - m.qty, reserved_qty = i.reserved_qty + m.qty,
                version = i.version + 1, revision = this_revision(), updated_at = moment
            FROM (SELECT product_id, sum(qty)::integer AS qty FROM line GROUP BY product_id) m
            WHERE i.product_id = m.product_id
        ), shared AS (
            UPDATE sale_item s SET reserved_qty = s.reserved_qty + m.qty, revision = this_revision()
            FROM (SELECT sale_uid, product_id, sum(qty)::integer AS qty FROM line
                  WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id) m
            WHERE s.sale_uid = m.sale_uid AND s.product_id = m.product_id
        ), counted AS (
            INSERT INTO user_sale_qty AS u (sale_uid, product_id, user_id, qty, max_qty)
            SELECT line.sale_uid, line.product_id, fresh.user_id, sum(line.qty), min(s.per_user_limit)
            FROM line JOIN fresh USING (order_id)
            JOIN sale_item s ON s.sale_uid = line.sale_uid AND s.product_id = line.product_id
            GROUP BY line.sale_uid, line.product_id, fresh.user_id
            ON CONFLICT (sale_uid, product_id, user_id)
            DO UPDATE SET qty = u.qty + excluded.qty, max_qty = excluded.max_qty
        ), first AS (
            SELECT sale.sale_uid FROM sale
            WHERE first_reservation_at IS NULL
              AND sale.sale_uid IN (SELECT line.sale_uid FROM line)
            ORDER BY sale.sale_uid FOR UPDATE
        ), noted AS (
            UPDATE sale SET first_reservation_at = moment, revision = this_revision()
            FROM first WHERE sale.sale_uid = first.sale_uid
        )
        SELECT coalesce(array_agg(fresh.order_id), '{}') INTO held FROM fresh;
    END IF;

    RETURN QUERY
        SELECT o.at::integer,
               CASE
                   WHEN r.order_id IS NULL THEN coalesce(names[verdicts[o.at]], 'WAITING')
                   WHEN r.request_hash <> hashes[o.at] THEN 'KEY_REUSED'
                   WHEN r.state = 'HELD' AND r.expires_at > moment THEN 'HELD'
                   WHEN r.state IN ('PAYING', 'SOLD', 'RETURNED') THEN 'PAID'
                   ELSE 'RELEASED'
               END,
               r.expires_at,
               CASE WHEN r.order_id IS NULL THEN failures[o.at] END,
               CASE WHEN o.id = ANY (held) THEN 'NEW' ELSE r.state END,
               CASE WHEN r.order_id IS NOT NULL AND NOT coalesce(o.id = ANY (held), false) THEN (
                   SELECT jsonb_object_agg(l.product_id, l.epoch)::text FROM reservation_line l
                   WHERE l.order_id = r.order_id
               ) END
        FROM unnest(order_ids) WITH ORDINALITY AS o(id, at)
        LEFT JOIN reservation r ON r.order_id = o.id
        ORDER BY o.at;
END
$$;
