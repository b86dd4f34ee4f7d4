"""One self-contained HTML page for a run, several runs or records, a prediction, lifted people.

Python collects data (:mod:`~moga_st.report.results`, :mod:`~moga_st.report.examples`,
:mod:`~moga_st.report.media`) into the sections of a :class:`~moga_st.report.page.Page`; the scripts in ``front/`` draw
them in a browser.
"""
