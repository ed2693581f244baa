//! A suite in the form in which `cargo nextest list --message-format json` prints it.

use nextest_metadata::{
    FilterMatch, RustTestCaseSummary, RustTestKind, RustTestSuiteSummary, TestCaseName, TestListSummary,
};

use super::model::{Suite, SuiteBinary};

impl Suite {
    /// Returns the suite in nextest's form.
    pub fn to_summary(&self) -> TestListSummary {
        let mut summary = TestListSummary::new(self.rust_build_meta.clone());
        summary.test_count = self.cases.len() + self.skipped.len();
        let mut suites: Vec<_> = self.binaries.iter().map(suite_summary).collect();
        let mut add = |binary: usize, name: &str, ignored, benchmark, filter_match| {
            let kind = Some(if benchmark {
                RustTestKind::BENCH
            } else {
                RustTestKind::TEST
            });
            let case = RustTestCaseSummary {
                kind,
                ignored,
                filter_match,
            };
            suites[binary].test_cases.insert(TestCaseName::new(name), case);
        };
        for case in &self.cases {
            add(
                case.binary,
                &case.name,
                case.ignored,
                case.benchmark,
                FilterMatch::Matches,
            );
        }
        for case in &self.skipped {
            let mismatch = FilterMatch::Mismatch { reason: case.reason };
            add(case.binary, &case.name, case.ignored, case.benchmark, mismatch);
        }
        let named = suites
            .into_iter()
            .map(|suite| (suite.binary.binary_id.clone(), suite));
        summary.rust_suites = named.collect();
        summary
    }
}

fn suite_summary(binary: &SuiteBinary) -> RustTestSuiteSummary {
    RustTestSuiteSummary {
        package_name: binary.package.clone(),
        binary: binary.summary.clone(),
        cwd: binary.cwd.clone(),
        status: binary.status.clone(),
        test_cases: Default::default(),
    }
}
