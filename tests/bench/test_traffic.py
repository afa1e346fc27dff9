"""What the visitors send."""

from bench.traffic import KINDS, PATHS, browser_fields, kind_of, page_of, paths, request_tail, tenants, visitor_of


def test_workspace_ids_are_of_one_length_and_names_distinct():
    everyone = tenants(50)
    assert len({tenant.hostname for tenant in everyone}) == 50
    assert {len(tenant.workspace) for tenant in everyone} == {5}


def test_every_path_of_a_tenant_is_another():
    targets = paths(tenants(1)[0], "/")
    assert len(set(targets)) == len(targets) == PATHS
    assert all(target.startswith("/") and " " not in target for target in targets)


def test_a_browser_sends_14_fields_and_each_visitor_his_own_cookie():
    tenant = tenants(1)[0]
    fields = [dict(browser_fields(tenant, visitor)) for visitor in range(24)]
    assert {len(each) for each in fields} == {14}
    assert {len(browser_fields(tenant, 0, kind)) for kind in KINDS} == {14}
    assert len({each["cookie"] for each in fields}) == 24


def test_the_same_visitor_sends_the_same_in_every_run():
    tenant = tenants(1)[0]
    assert browser_fields(tenant, 3) == browser_fields(tenant, 3)
    assert browser_fields(tenant, 3)[-1][1].startswith("session=")


def test_a_head_names_its_host_and_ends_with_an_empty_line():
    tail = request_tail(tenants(1)[0], 0, "document", extra=[("content-length", "3")])
    assert tail.startswith("host: cust00.bench.test\r\n")
    assert tail.endswith("content-length: 3\r\n\r\n")


def test_a_visitor_asks_for_whole_pages_before_the_next_one_comes():
    visitors = [visitor_of(number) for number in range(PATHS)]
    assert visitors == sorted(visitors)
    assert len(set(visitors)) == 24
    assert {kind_of(number) for number in range(PATHS) if visitor_of(number) == 3} == set(KINDS)


def test_each_page_is_the_referer_of_what_it_asks_for():
    def referer(number):
        fields = dict(browser_fields(tenants(1)[0], visitor_of(number), kind_of(number), page_of(number)))
        return fields["referer"]

    first = [referer(number) for number in range(14)]
    assert kind_of(0) == "document"
    assert len(set(first[1:])) == 1
    assert referer(14) == first[1], "the next page was asked for from this one"
    assert referer(15) != first[1]
