"""Tables show names as they are: those of profiles and records are anybody's."""

import pandas as pd

from lord.show.tables import plain_table


def test_names_are_no_html():
    name = "<script>alert(1)</script>"
    index = pd.MultiIndex.from_tuples([(name, "a"), (name, "b")], names=[None, None])
    page = plain_table(pd.DataFrame({name: [name, "text"]}, index=index), []).to_html()
    assert "<script>" not in page and page.count("&lt;script&gt;") == 3
