-- What Redis should hold of products, and which life of a server it was loaded into: as gate_facts(), for these
-- products, or without any for all that have a sale with permits ahead or open.
SELECT stock.product_id AS product_of, stock.epoch AS epoch_now, stock.loaded_run_id, stock.sale_uid AS gate_sale_uid,
       stock.open_at AS opens_at, stock.close_at AS closes_at, stock.state AS gate_state,
       stock.strategy AS gate_strategy, stock.per_user_limit AS user_limit, stock.sellable AS sellable_qty,
       (SELECT coalesce(sum(back.qty), 0) FROM permit_return back
        WHERE back.product_id = stock.product_id AND back.epoch = stock.epoch) AS returning_qty
FROM sale_stock stock
WHERE stock.product_id = ANY (coalesce($1::text[], ARRAY(
          SELECT DISTINCT product_id FROM sale_item
          WHERE strategy = 'Escrow' AND close_at > clock_timestamp())))
  AND stock.sale_uid = gate_sale(stock.product_id, clock_timestamp())
