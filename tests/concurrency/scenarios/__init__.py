"""The scenarios: production transactions that meet on the same rows. Each makes a scene from fresh rows."""

from tests.concurrency.explorer import Stage
from tests.concurrency.scenarios import grants, money, online, payments, sales, trust

STAGES: list[Stage] = [
    sales.two_boxes_one_code,
    sales.two_workers_one_batch,
    sales.void_against_sale,
    sales.voids_across_shops,
    sales.three_boxes_one_payer,
    money.entries_on_shared_accounts,
    money.entries_in_opposite_orders,
    money.reversed_by_two,
    money.top_up_against_spending,
    grants.renewals_against_posting,
    grants.renewal_when_the_pin_falls_due,
    grants.return_against_posting,
    grants.release_against_posting,
    grants.lost_phone,
    grants.releases_when_all_is_over,
    payments.one_wallet_two_codes,
    payments.one_code_two_merchants,
    payments.one_day_for_online_and_offline,
    payments.given_back_by_three,
    online.question_against_record_and_void,
    online.one_code_asked_by_two_boxes,
    trust.two_publishers,
    trust.one_code_two_boxes,
]
