-- Products that have a sale with permits ahead or open.
SELECT facts.* FROM gate_facts(ARRAY(
    SELECT DISTINCT product_id FROM sale_item
    WHERE strategy = 'Escrow' AND close_at > clock_timestamp()
), $1) facts
